"""Models: the collection, the search, and what a job pins."""

from typing import Annotated

from pydantic import Field, StrictBool

from tunedeck_contracts.message import CamelMessage, Message

LONGEST_CONTEXT = 1_000_000_000
LONGEST_TAG = 200
MOST_TAGS = 100

Tag = Annotated[str, Field(max_length=LONGEST_TAG)]


class Performance(CamelMessage):
    """Rough words for people."""

    speed: str = Field(default="Unknown", max_length=100, description="Like 'Moderate'.")
    accuracy: str = Field(default="Unknown", max_length=100, description="Like 'Excellent'.")
    memory_usage: str = Field(default="Unknown", max_length=100, description="Like 'High'.")


class AddModel(CamelMessage):
    """A model for the collection. A search result can be sent back as it is; unknown keys are ignored.

    What is left out the Hub is asked for, when it can be reached.
    """

    id: str = Field(min_length=1, max_length=200, description="By the Hub's rule: `name` or `owner/name`.")
    name: str | None = Field(default=None, max_length=200, description="For people; made from the id.")
    provider: str | None = Field(default=None, max_length=200, description="Who publishes it.")
    category: str = Field(default="Text Generation", max_length=100, description="What it is for, in a word.")
    description: str = Field(default="", max_length=4000, description="A sentence or more.")
    parameters: str | None = Field(default=None, max_length=20, description="How many, like '117M'.")
    context_length: int | None = Field(
        default=None, strict=True, ge=1, le=LONGEST_CONTEXT, description="Tokens."
    )
    license: str | None = Field(default=None, max_length=200, description="Its name or SPDX id.")
    download_size: str | None = Field(default=None, max_length=30, description="Like '39.6 GB'.")
    gated: StrictBool | None = Field(default=None, description="Whether the Hub asks to accept terms first.")
    tags: list[Tag] = Field(default=[], max_length=MOST_TAGS, description="Words to find it by.")
    capabilities: list[Tag] = Field(default=[], max_length=MOST_TAGS, description="What it does well.")
    performance: Performance = Performance()
    use_case: str = Field(default="", max_length=1000, description="What it is good for, in a sentence.")


class Model(CamelMessage):
    """A model of the collection as api.md shows it. What is not known is null.

    `gated`: whether the Hub gives the weights only to who has accepted the model's terms.
    """

    id: str
    name: str
    provider: str
    category: str
    description: str
    parameters: str | None
    context_length: int | None
    license: str | None
    download_size: str | None
    tags: list[str]
    capabilities: list[str]
    recommended: bool
    performance: Performance
    use_case: str
    gated: bool | None = None


class ModelAdded(Message):
    """What `POST /api/models` answers."""

    success: bool = True
    model: Model
    message: str


class GetModel(Message):
    """One model of the collection."""

    id: str


class RemoveModel(Message):
    """Take a model out of the collection; its files stay where they are."""

    id: str


class ModelRemoved(Message):
    """What `DELETE /api/models/{model_id}` answers."""

    success: bool = True
    message: str


class CheckModel(Message):
    """Ask whether the collection has a model."""

    id: str


class ModelCheck(Message):
    """What `GET /api/models/check/{model_id}` answers."""

    exists: bool
    model_id: str


class ListModels(Message):
    """The whole collection."""


class ModelCollection(Message):
    """What `GET /api/models` answers."""

    models: list[Model]
    categories: list[str]
    providers: list[str]


class SearchModels(Message):
    """Ask the Hugging Face Hub."""

    query: str = Field(min_length=2, max_length=200)
    limit: int = Field(default=10, ge=1, le=100)


class FoundModel(CamelMessage):
    """One result of the Hub's search."""

    id: str
    name: str
    provider: str
    category: str
    description: str
    parameters: str | None
    context_length: int | None
    tags: list[str]
    downloads: int
    likes: int
    gated: bool | None = None


class FoundModels(Message):
    """The HTTP answer is the bare list."""

    models: list[FoundModel]

    def to_json(self) -> bytes:
        return b"[" + b",".join(one.to_json() for one in self.models) + b"]"


class ResolveModel(Message):
    """Pin a model id to a revision that can be had now: the one that is wanted, else the newest."""

    id: str
    revision: str | None = None


class ResolvedModel(Message):
    """A model pinned for training.

    `revision` is the Hub's commit, or `sha256:<hex>` over the weights of a folder below TUNEDECK_MODELS_DIR.
    """

    uid: str
    name: str
    revision: str
    source: str = Field(pattern="^(folder|hub)$")
