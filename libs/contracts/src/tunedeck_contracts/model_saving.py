"""What becomes of a tuned model: what is kept of it, where its files are, and its way to the Hub."""

import re
from enum import StrEnum
from typing import Self

from pydantic import Field, StrictBool, field_validator, model_validator

from tunedeck_contracts.message import CamelMessage, Message, Timestamp

_REPOSITORY = re.compile(r"(?:[A-Za-z0-9_][\w.-]{0,95}/)?[A-Za-z0-9_][\w.-]{0,95}", re.ASCII)


def is_repository_name(name: str) -> bool:
    """Whether the Hub takes it: `name` or `owner/name`, by the rule of huggingface_hub's validate_repo_id."""
    return (
        _REPOSITORY.fullmatch(name) is not None
        and not any(part.endswith(("-", ".")) for part in name.split("/"))
        and "--" not in name
        and ".." not in name
        and not name.endswith(".git")
    )


class ModelSaving(CamelMessage):
    """What becomes of the tuned model."""

    save_model: StrictBool = Field(default=True, description="Whether the tuned model's files are kept.")
    model_name: str = Field(
        default="",
        max_length=200,
        description="What people call it; with `pushToHub` the repository's name, `name` or `owner/name`.",
    )
    save_merged: StrictBool = Field(
        default=False,
        description="Whether the adapter, merged into its base model, is kept as a whole model beside it, in "
        "`merged/`.",
    )
    push_to_hub: StrictBool = Field(
        default=False, description="Whether a completed job's files are sent to the Hub; `hubPush` tells."
    )
    make_public: StrictBool = Field(
        default=False, description="Whether everyone may see the repository on the Hub."
    )

    @model_validator(mode="after")
    def _has_a_name_on_the_hub(self) -> Self:
        if self.push_to_hub and not is_repository_name(self.model_name):
            raise ValueError(
                "pushToHub needs a modelName that the Hub takes: `name` or `owner/name` of letters, digits, "
                "`-`, `_` and `.`, at most 96 characters, with no `--` and no `..`, none of the three last "
                "or first."
            )
        return self


class Artifact(Message):
    """One file of the tuned model; `path` is what follows `/artifacts/` in its address."""

    path: str
    size: int = Field(description="Bytes.")
    sha256: str


class StoredArtifact(Artifact):
    """An artifact as the trainer reports it, with where its bytes are."""

    blob_id: str

    @field_validator("path")
    @classmethod
    def _is_below_the_folder(cls, path: str) -> str:
        parts = path.split("/")
        if "\0" in path or any(part in ("", ".", "..") for part in parts):
            raise ValueError(f"{path!r} is no path of a file below a tuned model's folder.")
        return path


class GetArtifact(Message):
    """One file of a completed job."""

    uid: str
    path: str


class ArtifactLocation(Message):
    """Where the gateway finds the bytes."""

    path: str
    size: int
    sha256: str
    blob_id: str


class PushState(StrEnum):
    """Where the files are on their way to the Hub."""

    WAITING = "waiting"
    PUSHING = "pushing"
    PUSHED = "pushed"
    FAILED = "failed"


class PushProblem(StrEnum):
    """Why the Hub has not got them, for programs."""

    NO_TOKEN = "no_token"
    REFUSED = "refused"
    IS_PUBLIC = "is_public"
    HUB_UNAVAILABLE = "hub_unavailable"
    FILES_GONE = "files_gone"
    TIMED_OUT = "timed_out"
    UNKNOWN = "unknown"


PUSH_HINTS: dict[PushProblem, str] = {
    PushProblem.NO_TOKEN: "Set HF_TOKEN for the trainer to a token that may write, and push again.",
    PushProblem.REFUSED: "Give the trainer an HF_TOKEN that may write to this repository, or push to another "
    "`modelName`.",
    PushProblem.IS_PUBLIC: "Push with `makePublic`, or to another `modelName`.",
    PushProblem.HUB_UNAVAILABLE: "Check the trainer's way to the Hub (HF_ENDPOINT), and push again.",
    PushProblem.FILES_GONE: "Train the job again: its files are not where they were stored.",
    PushProblem.TIMED_OUT: "Push again; TUNEDECK_PUSH_SECONDS of the trainer gives it more time.",
    PushProblem.UNKNOWN: "Look at the trainer's log, and push again.",
}


class HubPush(CamelMessage):
    """How far the files of a completed job are on their way to the Hub. A failure costs the job nothing."""

    state: PushState
    repository: str = Field(description="`name`, or `owner/name` as the Hub has it.")
    public: bool
    url: str | None = Field(default=None, description="Of the repository's page.")
    commit: str | None = Field(default=None, description="That has the files.")
    problem: PushProblem | None = Field(default=None, description="Of a push that failed.")
    detail: str | None = Field(default=None, description="What happened, as a sentence.")
    hint: str | None = Field(default=None, description="What to do.")
    at: Timestamp | None = Field(default=None, description="When its state last changed.")


class PushOptions(CamelMessage):
    """What `POST /api/jobs/{uid}/push` takes; what is left out is as the job's `modelSaving` says."""

    model_name: str | None = Field(
        default=None, max_length=200, description="The repository: `name` or `owner/name`."
    )
    make_public: StrictBool | None = Field(default=None, description="Whether everyone may see it.")


class PushModel(Message):
    """Send a completed job's files to the Hub, for the first time or again."""

    uid: str
    options: PushOptions = PushOptions()


class ClaimPush(Message):
    """A trainer asks for files to send; a claim that is not reported within `seconds` is another's."""

    worker: str
    seconds: float = Field(gt=0)


class PushWork(Message):
    """What is to be sent, and to where."""

    job_uid: str
    claim: int = Field(description="Counts the claims of the job's push; a report has the newest.")
    repository: str
    public: bool
    files: list[StoredArtifact]


class PushClaimed(Message):
    """The work, or None when nothing waits."""

    work: PushWork | None = None


class ReportPush(Message):
    """How a push ended."""

    job_uid: str
    claim: int
    push: HubPush


class PushReported(Message):
    """The report is kept, unless a newer claim has the push by now."""
