"""What the trainer asks the process that previews a job; here, because neither imports the other."""

from pathlib import Path

from pydantic import Field

from tunedeck_contracts.message import Message
from tunedeck_contracts.plans import Plan


class PreviewQuestion(Message):
    """What is to be previewed, and where its files are."""

    plan: Plan
    models_dir: Path
    rows_file: Path
    processes: int = Field(default=1, description="Of a run, whose batches together are one.")
