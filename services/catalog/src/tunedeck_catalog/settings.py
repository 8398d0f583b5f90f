"""Settings of the catalog service."""

from pathlib import Path

from pydantic import Field

from tunedeck_chassis.settings import ServiceSettings


class CatalogSettings(ServiceSettings):
    """The Hub's address and token are huggingface_hub's own variables, HF_ENDPOINT and HF_TOKEN."""

    catalog_database: str = Field(
        default="tunedeck_catalog", description="MongoDB database of models and datasets."
    )
    models_dir: Path = Field(
        default=Path(".tunedeck/models"),
        description="Model folders: <id>/config.json beside *.safetensors; your own are local/<name>.",
    )
    sweep_seconds: float = Field(
        default=3600.0, gt=0, description="How often blobs whose time is over are removed."
    )
