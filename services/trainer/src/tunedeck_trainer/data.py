"""Rows of a dataset as tokens: what the model reads, and which of it the loss counts."""

import json
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import torch
from jinja2 import TemplateError

from tunedeck_contracts.failures import FailureCode
from tunedeck_contracts.hyperparameters import Hyperparameters
from tunedeck_trainer.failures import RunFailed

IGNORED = -100
"""The label of a token that the loss does not count (torch's own `ignore_index`)."""

TOLD_DATE = date(2024, 7, 26)
"""The date that a chat template writes which asks for today's, here and in answers.

By the real one a row would have other tokens every day, and neither a resumed run nor a repeated one would
train on what the first did. It is the one that Llama 3's own template falls back on.
"""

_ASKS_THE_DATE = re.compile(r"""strftime_now\(\s*(['"])(?P<format>.*?)\1\s*\)""")
"""What transformers gives a template to ask by; it takes no other in its place."""

_NAMED_RANGES = 100


@dataclass(frozen=True)
class Row:
    """One question with its answer; `number` counts the rows of the file from 1."""

    number: int
    input: str
    output: str


@dataclass(frozen=True)
class Example:
    """A row as tokens. `labels` is as long as `input_ids`: the token itself, or IGNORED."""

    row: int
    input_ids: list[int]
    labels: list[int]
    truncated: bool

    @property
    def trained_tokens(self) -> int:
        """Tokens that the loss counts; the first token of a text is never predicted."""
        return sum(label != IGNORED for label in self.labels[1:])


@dataclass(frozen=True)
class Prepared:
    """Both sides of the split, and what was cut or left out."""

    train: list[Example]
    validation: list[Example]
    truncated_rows: int
    untrainable_rows: list[int]
    limit: str
    """At what rows were cut, in words."""

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
    examples = [_encoded(row, tokenizer, length) for row in read_rows(rows_file)]
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
        limit=limit,
    )


def form(tokenizer: Any) -> str:
    """How a row is written for the model, as a sentence for the job's log and its preview."""
    if tokenizer.chat_template is not None:
        return "Rows are written by the model's own chat template."
    begins_with_bos = tokenizer.bos_token_id in prompt_tokens("", tokenizer)[:1]
    begin = tokenizer.bos_token if begins_with_bos else ""
    written = f"{begin}{{input}}\n{{output}}{tokenizer.eos_token or ''}"
    return f"The model has no chat template; rows are written in a plain form: {json.dumps(written)}."


def _left_out(untrainable: Sequence[int], limit: str) -> str:
    return (
        f"{len(untrainable)} rows have no answer within {limit} and are left out: rows {_named(untrainable)}."
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


def _encoded(row: Row, tokenizer: Any, max_length: int) -> Example:
    try:
        return encode(row, tokenizer, max_length)
    except TemplateError as error:
        sentence = f"The model's chat template does not take row {row.number}: {error}"
        raise RunFailed(FailureCode.USER_CODE, sentence, row=row.number) from error
    except (ValueError, TypeError) as error:
        sentence = f"Row {row.number} cannot be tokenized: {error!r}"
        raise RunFailed(FailureCode.BAD_DATA, sentence, row=row.number) from error


def encode(row: Row, tokenizer: Any, max_length: int) -> Example:
    """Tokens of the row in the model's chat form, cut at `max_length`.

    Question and answer are tokenized apart, as they are when the tuned model is asked.
    """
    prompt, answer = chat_texts(row, tokenizer)
    prompt_ids = prompt_tokens(prompt, tokenizer)
    answer_ids = list(tokenizer(answer, add_special_tokens=False)["input_ids"])
    input_ids = prompt_ids + answer_ids
    labels = [IGNORED] * len(prompt_ids) + answer_ids
    return Example(row.number, input_ids[:max_length], labels[:max_length], len(input_ids) > max_length)


def chat_texts(row: Row, tokenizer: Any) -> tuple[str, str]:
    """The question up to where the model speaks, and the answer up to the token that ends its turn."""
    end = tokenizer.eos_token or ""
    question = [{"role": "user", "content": row.input}]
    prompt = prompt_text(question, tokenizer)
    if tokenizer.chat_template is None:
        return prompt, row.output + end
    answered = [*question, {"role": "assistant", "content": row.output}]
    whole = _templated(answered, tokenizer)
    if not whole.startswith(prompt):
        return prompt, row.output + end
    answer = whole[len(prompt) :]
    return prompt, answer.rstrip() if end and answer.rstrip().endswith(end) else answer


def prompt_text(messages: Sequence[dict[str, str]], tokenizer: Any) -> str:
    """A conversation up to where the model speaks; without a chat template, one question in a plain form."""
    if tokenizer.chat_template is None:
        return f"{messages[-1]['content']}\n"
    return _templated(messages, tokenizer, add_generation_prompt=True)


def _templated(messages: Sequence[dict[str, str]], tokenizer: Any, **options: bool) -> str:
    template = _ASKS_THE_DATE.sub(
        lambda found: json.dumps(TOLD_DATE.strftime(found["format"])), tokenizer.get_chat_template()
    )
    return str(tokenizer.apply_chat_template(messages, chat_template=template, tokenize=False, **options))


def prompt_tokens(prompt: str, tokenizer: Any) -> list[int]:
    """What the model reads of a prompt; a chat template has written the special tokens already."""
    return list(tokenizer(prompt, add_special_tokens=tokenizer.chat_template is None)["input_ids"])


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


def collate(examples: Sequence[dict[str, list[int]]], pad_token_id: int) -> dict[str, torch.Tensor]:
    """Padded on the right to the longest: `input_ids`, `attention_mask`, `labels`, each (rows, tokens)."""
    longest = max(len(one["input_ids"]) for one in examples)

    def padded(values: list[int], filler: int) -> list[int]:
        return values + [filler] * (longest - len(values))

    return {
        "input_ids": torch.tensor([padded(one["input_ids"], pad_token_id) for one in examples]),
        "attention_mask": torch.tensor([padded([1] * len(one["input_ids"]), 0) for one in examples]),
        "labels": torch.tensor([padded(one["labels"], IGNORED) for one in examples]),
    }
