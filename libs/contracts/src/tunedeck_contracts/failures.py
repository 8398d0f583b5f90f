"""Why a job failed: each code with a sentence for the person, and what to change."""

from dataclasses import dataclass
from enum import StrEnum

from pydantic import Field

from tunedeck_contracts.message import Message

LONGEST_DETAIL = 2000


class FailureCode(StrEnum):
    """What went wrong, for programs."""

    OUT_OF_MEMORY = "out_of_memory"
    BAD_DATA = "bad_data"
    BAD_SETTINGS = "bad_settings"
    DEVICE_UNAVAILABLE = "device_unavailable"
    MODEL_NOT_FOUND = "model_not_found"
    GATED_MODEL = "gated_model"
    HUB_UNAVAILABLE = "hub_unavailable"
    DISK_FULL = "disk_full"
    NOT_FINITE = "not_finite"
    LOST_WORKER = "lost_worker"
    DEADLINE_EXCEEDED = "deadline_exceeded"
    USER_CODE = "user_code"
    CRASH = "crash"


@dataclass(frozen=True)
class Explanation:
    """What a person reads when nothing more is known."""

    sentence: str
    hint: str


EXPLANATIONS: dict[FailureCode, Explanation] = {
    FailureCode.OUT_OF_MEMORY: Explanation(
        "Training needed more memory than the trainer has.",
        "Lower batch_size or max_length; gradient_accumulation_steps keeps the effective batch.",
    ),
    FailureCode.BAD_DATA: Explanation(
        "The dataset cannot be trained on.",
        "Check the dataset's rows, and max_length if answers are cut away.",
    ),
    FailureCode.BAD_SETTINGS: Explanation(
        "The hyperparameters cannot be used together, or not on this device.",
        "Change the hyperparameter that the message names.",
    ),
    FailureCode.DEVICE_UNAVAILABLE: Explanation(
        "The trainer's device cannot be used.",
        "Mend the trainer's driver or its build of torch, then retry the job, or let it train on a CPU.",
    ),
    FailureCode.MODEL_NOT_FOUND: Explanation(
        "The model's files were not found.",
        "Check the model's id, and that its files are there as safetensors.",
    ),
    FailureCode.GATED_MODEL: Explanation(
        "The model is gated, and this trainer has no access to it.",
        "Accept the model's licence on its page on the Hub, and give the trainer that account's HF_TOKEN.",
    ),
    FailureCode.HUB_UNAVAILABLE: Explanation(
        "The Hub could not be reached.",
        "Check the trainer's way to the Hub (HF_ENDPOINT, HF_TOKEN) and retry the job.",
    ),
    FailureCode.DISK_FULL: Explanation(
        "The trainer's disk is full.", "Free space on the trainer's disk and retry the job."
    ),
    FailureCode.NOT_FINITE: Explanation(
        "The loss was not a finite number any more.", "Lower learning_rate, or add warmup_steps."
    ),
    FailureCode.LOST_WORKER: Explanation(
        "The trainer was lost at each attempt, with no newer checkpoint in between.",
        "Look at the trainer's log and its machine's memory, then retry the job; "
        "a lower save_steps loses less at each attempt.",
    ),
    FailureCode.DEADLINE_EXCEEDED: Explanation(
        "The job had not ended by its deadline.",
        "Retry it from its newest checkpoint with a later deadline, a higher priority or fewer steps.",
    ),
    FailureCode.USER_CODE: Explanation(
        "What came with the model or the dataset raised an error.",
        "The job's log has the error; mend its cause and retry the job.",
    ),
    FailureCode.CRASH: Explanation(
        "The training process ended without a word.",
        "The job's log has the last lines of the training process.",
    ),
}


class Failure(Message):
    """Why a job failed and what to change."""

    code: FailureCode
    detail: str = Field(description="What happened, as a sentence.")
    hint: str = Field(description="What to change.")
    row: int | None = Field(
        default=None, description="Of `bad_data`: the number of the row, from 1, where one is at fault."
    )


def failure(code: FailureCode, detail: str | None = None, row: int | None = None) -> Failure:
    """A failure with the hint of its code, and the code's own sentence where `detail` is not given."""
    known = EXPLANATIONS[code]
    sentence = detail or known.sentence
    return Failure(code=code, detail=sentence[:LONGEST_DETAIL], hint=known.hint, row=row)
