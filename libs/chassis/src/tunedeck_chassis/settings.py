"""The settings that every service has, from the environment with the prefix TUNEDECK_."""

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class ServiceSettings(BaseSettings):
    """Where the bus and the database are. A service's own settings extend this."""

    model_config = SettingsConfigDict(env_prefix="TUNEDECK_", extra="ignore")

    nats_url: str = Field(default="nats://127.0.0.1:4222", description="The NATS server.")
    mongo_url: str = Field(
        default="mongodb://127.0.0.1:27017/?replicaSet=tunedeck",
        description="MongoDB; a replica set, if only of one node.",
    )
    log_level: str = Field(default="INFO", description="DEBUG, INFO, WARNING or ERROR.")
