"""The manifest of a run's artifact: what the tuned model was made of and how, and the hash of each file."""

from pydantic import Field, FiniteFloat

from tunedeck_contracts.estimates import BatchSplit
from tunedeck_contracts.hyperparameters import Hyperparameters
from tunedeck_contracts.jobs import Result
from tunedeck_contracts.message import Message, Timestamp

MANIFEST = "manifest.json"


class ManifestFile(Message):
    """One file beside the manifest."""

    path: str
    size: int = Field(description="Bytes.")
    sha256: str


class Environment(Message):
    """On what a run was computed. Where all of it is equal, so are losses and weights, bit for bit."""

    python: str
    platform: str = Field(description="Operating system and machine.")
    processor: str = Field(description="The model of the CPU, and the instructions that torch uses of it.")
    device: str = Field(description="'cpu', or the name of the GPU.")
    threads: int = Field(description="CPU threads of torch.")
    processes: int = Field(default=1, description="Each computes its share of a batch's rows.")
    packages: dict[str, str] = Field(description="Versions by name.")


class Evaluation(Message):
    """One evaluation on the validation rows; step 0 is before the first step."""

    step: int
    validation_loss: FiniteFloat


class Losses(Message):
    """Mean cross-entropy per trained token, in nats."""

    train: list[FiniteFloat] = Field(description="Of each optimizer step, from the first.")
    evaluations: list[Evaluation]


class MergeAgreement(Message):
    """How alike adapter and merged model answer held-out prompts greedily."""

    prompts: int = Field(description="Validation rows whose prompts were answered by both.")
    new_tokens: int = Field(description="Most tokens of an answer.")
    equal_answers: float = Field(description="Share of the prompts with the same answer, token by token.")
    equal_tokens: float = Field(description="Share of the answers' tokens that are the same at their place.")


class Manifest(Message):
    """What the tuned model was made of, and the hash of each of its files.

    A manifest of a former version lacks what is null here.
    """

    job_uid: str
    method: str = Field(description="'full': the folder is a model of its own; else an adapter for the base.")
    base_model: str
    base_revision: str = Field(description="The Hub's commit, or `sha256:<hex>` over a folder's weights.")
    base_source: str | None = Field(default=None, description="'hub' or 'folder'.")
    dataset_uid: str
    dataset_sha256: str = Field(description="Of the rows that were trained on.")
    created_at: Timestamp
    packages: dict[str, str] = Field(description="Versions by name.")
    hyperparameters: Hyperparameters | None = Field(default=None, description="All settings, with the seed.")
    batch_split: BatchSplit | None = Field(
        default=None, description="How the rows of a step were split; losses depend on it by their rounding."
    )
    environment: Environment | None = None
    losses: Losses | None = None
    result: Result | None = None
    merge: MergeAgreement | None = Field(default=None, description="Where a merged model was asked for.")
    files: list[ManifestFile]
