"""Settings of the trainer service."""

from pathlib import Path

from pydantic import Field

from tunedeck_chassis.settings import IntakeSettings


class TrainerSettings(IntakeSettings):
    """Where a trainer's files are and what it trains on. Two trainers never share a work folder."""

    models_dir: Path = Field(
        default=Path(".tunedeck/models"),
        description="Folders of base models, named by model id.",
    )
    work_dir: Path = Field(default=Path(".tunedeck/trainer"), description="Files of runs, until they end.")
    adapters_dir: Path = Field(
        default=Path(".tunedeck/adapters"),
        description="Finished adapters and tuned models, one folder a job.",
    )
    trainer_id: str | None = Field(default=None, description="Kept in the work folder when absent.")
    devices: list[str] | None = Field(
        default=None,
        description="'cpu', or 'cuda:0' and so on, on all of which a run trains; when absent, those of "
        "CUDA_VISIBLE_DEVICES, or else all GPUs.",
    )
    cuda_visible_devices: str | None = Field(
        default=None,
        validation_alias="CUDA_VISIBLE_DEVICES",
        description="CUDA's own variable, without the prefix: of several GPUs those that are used.",
    )
    torch_threads: int | None = Field(
        default=None,
        ge=1,
        description="CPU threads of training; torch chooses when absent.",
    )
    claim_seconds: float = Field(default=10.0, gt=0, description="How often an idle trainer asks for a job.")
    sample_seconds: float = Field(
        default=2.0,
        gt=0,
        description="Time between two resource samples of a run.",
    )
    idle_sample_seconds: float = Field(
        default=5.0,
        gt=0,
        description="Time between two samples of an idle host.",
    )
    kill_seconds: float = Field(
        default=30.0,
        gt=0,
        description="A child that ignores a cancel this long is killed.",
    )
    checkpoint_seconds: float = Field(
        default=30.0,
        gt=0,
        description="Time between two checkpoints of a run whose `save_steps` is not set.",
    )
    contactless_seconds: float = Field(
        default=24 * 3600.0,
        gt=0,
        description="How long a run goes on while jobs cannot be reached.",
    )
    drain_seconds: float = Field(
        default=60.0,
        gt=0,
        description="Longest wait, at the end, for telemetry to store all.",
    )
    generation_places: int = Field(
        default=8,
        ge=1,
        description="Requests for text that are answered or wait here at once; one more is refused.",
    )
    generation_wait_seconds: float = Field(
        default=600.0,
        gt=0,
        description="Longest wait of a request for text, for its turn and then for its model.",
    )
    generation_idle_seconds: float = Field(
        default=300.0,
        gt=0,
        description="How long the model that answered last is kept in memory.",
    )
    push_seconds: float = Field(
        default=3600.0,
        gt=0,
        description="Longest time that sending one job's files to the Hub takes.",
    )
    spool_bytes: int = Field(
        default=256 * 2**20,
        ge=2**16,
        description="Most unstored bytes of one kind on disk.",
    )
