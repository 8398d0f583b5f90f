"""The settings that every service has, from variables with the prefix TUNEDECK_; secrets, from files."""

from pathlib import Path
from typing import Self

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SecretsSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

SECRETS_DIR = Path("/run/secrets")


class ServiceSettings(BaseSettings):
    """Where the bus and the database are, and as whom to speak to them. A service's own settings extend this.

    A secret is the content of a file in `secrets_dir` named as its variable, in lower case:
    `tunedeck_nats_nkey_seed`, `tunedeck_mongo_password`.
    """

    model_config = SettingsConfigDict(env_prefix="TUNEDECK_", extra="ignore", hide_input_in_errors=True)

    nats_url: str = Field(default="nats://127.0.0.1:4222", description="The NATS server.")
    nats_nkey_seed: SecretStr | None = Field(
        default=None, description="A secret: the seed of the user at NATS; without one, no user."
    )
    mongo_url: str = Field(
        default="mongodb://127.0.0.1:27017/?replicaSet=tunedeck",
        description="MongoDB; a replica set, if only of one node.",
    )
    mongo_user: str | None = Field(default=None, description="The user at MongoDB; without one, no login.")
    mongo_password: SecretStr | None = Field(
        default=None, description="A secret: the password of the user at MongoDB."
    )
    tls_ca_file: Path | None = Field(
        default=None,
        description="Certificates in PEM: NATS and MongoDB are spoken to by TLS only, checked against them.",
    )
    secrets_dir: Path = Field(
        default=SECRETS_DIR, description="The folder with a file for each secret; see `tunedeck secrets`."
    )
    log_level: str = Field(default="INFO", description="DEBUG, INFO, WARNING or ERROR.")
    heartbeat_file: Path | None = Field(
        default=None, description="Touched every 2 seconds while the service works, for a healthcheck."
    )

    @model_validator(mode="after")
    def _user_has_password(self) -> Self:
        if self.mongo_user is not None and self.mongo_password is None:
            raise ValueError(
                f"the MongoDB user {self.mongo_user!r} has no password: "
                f"put it into the file {self.secrets_dir / 'tunedeck_mongo_password'}"
            )
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments, then the environment, then the files of `secrets_dir`."""
        folder = Path({**env_settings(), **init_settings()}.get("secrets_dir", SECRETS_DIR))
        if not folder.is_dir():
            if folder != SECRETS_DIR:
                raise SettingsError(f"TUNEDECK_SECRETS_DIR names {folder}, where there is no folder.")
            return init_settings, env_settings
        return init_settings, env_settings, SecretsSettingsSource(settings_cls, secrets_dir=folder)


class IntakeSettings(ServiceSettings):
    """Of a service that puts files into MongoDB."""

    least_free_bytes: int = Field(
        default=536_870_912,
        ge=0,
        description="Uploads and new jobs are refused, and checkpoints and tuned models wait, while less of "
        "MongoDB's disk is free; 0 for never.",
    )
