"""Rows of a dataset as tokens: read, split, and put into batches."""

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tunedeck_contracts.failures import FailureCode
from tunedeck_contracts.hyperparameters import Hyperparameters
from tunedeck_trainer.failures import RunFailed
from tunedeck_trainer.row_tokens import IGNORED, Example, Row, encode

_NAMED_RANGES = 100


@dataclass(frozen=True)
class Prepared:
    """Both sides of the split, and what was cut or left out."""

    train: list[Example]
    validation: list[Example]
    truncated_rows: int
    untrainable_rows: list[int]
    max_length: int
    """Tokens of a row, after which it was cut."""
    limit: str
    """The same in words."""

    @property
    def warnings(self) -> Iterator[str]:
        """Sentences for the job's log."""
        if self.truncated_rows:
            yield f"{self.truncated_rows} rows are longer than {self.limit} and were cut."
        if self.untrainable_rows:
            yield _left_out(self.untrainable_rows, self.limit)


def prepare(
    rows_file: Path, tokenizer: Any, settings: Hyperparameters, positions: int | None = None
) -> Prepared:
    """Read, tokenize and split the rows. `positions`: tokens that the model reads, where it has an end.

    Raises:
        RunFailed: a row cannot be read or tokenized, or fewer than two can be trained on.
    """
    length, limit = settings.max_length, "max_length"
    if positions is not None and positions < length:
        length, limit = positions, f"the model's own length of {positions} tokens, which is below max_length,"
    examples = encode(read_rows(rows_file), tokenizer, length)
    untrainable = [one.row for one in examples if one.trained_tokens == 0]
    usable = [one for one in examples if one.trained_tokens > 0]
    try:
        train, validation = split(usable, settings)
    except RunFailed as error:
        if not untrainable:
            raise
        raise RunFailed(error.code, f"{error} {_left_out(untrainable, limit)}", untrainable[0]) from error
    return Prepared(
        train=train,
        # Neighbours of like length waste little on padding; the order changes no sum.
        validation=sorted(validation, key=lambda one: len(one.input_ids)),
        truncated_rows=sum(one.truncated for one in examples),
        untrainable_rows=untrainable,
        max_length=length,
        limit=limit,
    )


def _left_out(untrainable: Sequence[int], limit: str) -> str:
    return (
        f"{len(untrainable)} rows have no answer within {limit} and are left out: rows "
        f"{_named(untrainable)} of the dataset."
    )


def _named(numbers: Sequence[int]) -> str:
    """Ascending numbers, neighbours as a range: '3, 7-9'."""
    ranges: list[tuple[int, int]] = []
    for number in numbers:
        if ranges and ranges[-1][1] == number - 1:
            ranges[-1] = (ranges[-1][0], number)
        else:
            ranges.append((number, number))
    named = [str(low) if low == high else f"{low}-{high}" for low, high in ranges[:_NAMED_RANGES]]
    left = sum(high - low + 1 for low, high in ranges[_NAMED_RANGES:])
    return ", ".join(named) + (f" and {left} more" if left else "")


def read_rows(rows_file: Path) -> list[Row]:
    """The rows of a JSON Lines file of objects with the strings `input` and `output`."""
    rows = []
    with rows_file.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                values = json.loads(line)
                rows.append(Row(number, str(values["input"]), str(values["output"])))
            except (ValueError, KeyError, TypeError) as error:
                raise RunFailed(
                    FailureCode.BAD_DATA,
                    f"Row {number} is no object with input and output: {error!r}",
                    row=number,
                ) from error
    return rows


def split(examples: Sequence[Example], settings: Hyperparameters) -> tuple[list[Example], list[Example]]:
    """Training and validation rows, the same for the same seed.

    Rows that are equal as the model reads them, cut, stay on one side. There are no more validation rows than
    asked for, unless each row is there more often than that.

    Raises:
        RunFailed: there are not two different rows.
    """
    groups: dict[tuple[tuple[int, ...], tuple[int, ...]], list[Example]] = {}
    for one in examples:
        groups.setdefault((tuple(one.input_ids), tuple(one.labels)), []).append(one)
    if len(groups) < 2:
        raise RunFailed(
            FailureCode.BAD_DATA,
            f"Training needs two different rows with an answer within max_length; there are {len(groups)}.",
        )
    shuffled = list(groups.values())
    random.Random(settings.seed).shuffle(shuffled)
    wanted = max(1, round(len(examples) * settings.validation_split))
    if settings.validation_rows is not None:
        wanted = min(wanted, settings.validation_rows)
    # A run without a validation row could not say what it has learnt: then the rarest row is taken.
    wanted = max(wanted, min(len(group) for group in shuffled))
    train: list[Example] = []
    validation: list[Example] = []
    for position, group in enumerate(shuffled):
        last = position == len(shuffled) - 1
        room = len(validation) + len(group) <= wanted
        (validation if room and not (last and not train) else train).extend(group)
    return train, validation


def collate(examples: Sequence[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
    """Padded on the right to the longest: `input_ids`, `attention_mask`, `labels`, each (rows, tokens).

    The padding is token 0, which every model has, and is masked: not every tokenizer has a token for it.
    """
    longest = max(len(one["input_ids"]) for one in examples)

    def padded(values: list[int], filler: int) -> list[int]:
        return values + [filler] * (longest - len(values))

    return {
        "input_ids": torch.tensor([padded(one["input_ids"], 0) for one in examples]),
        "attention_mask": torch.tensor([padded([1] * len(one["input_ids"]), 0) for one in examples]),
        "labels": torch.tensor([padded(one["labels"], IGNORED) for one in examples]),
    }
