"""What the trainer asks the process that estimates a job; here, because neither imports the other."""

from pathlib import Path

from pydantic import Field

from tunedeck_contracts.message import Message
from tunedeck_contracts.plans import Plan


class EstimateQuestion(Message):
    """What would be trained, where its files are, and on what."""

    plan: Plan
    models_dir: Path
    rows_file: Path
    device: str = Field(description="'cpu' or 'cuda:<index>'.")
    threads: int | None = None
    processes: int = Field(default=1, description="Of a run, one for each of the trainer's devices.")
