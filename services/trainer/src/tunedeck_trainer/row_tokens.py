"""One row as the model reads it: in the model's chat form, as tokens, and which of them the loss counts."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from typing import Any

from jinja2 import TemplateError

from tunedeck_contracts.failures import FailureCode
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

_ROWS_AT_ONCE = 1000
_BREAK = "\n"


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


def form(tokenizer: Any) -> str:
    """How a row is written for the model, as a sentence for the job's log and its preview."""
    if tokenizer.chat_template is not None:
        return "Rows are written by the model's own chat template."
    begins_with_bos = tokenizer.bos_token_id in prompt_tokens("", tokenizer)[:1]
    begin = tokenizer.bos_token if begins_with_bos else ""
    written = f"{begin}{{input}}\n{{output}}{tokenizer.eos_token or ''}"
    return f"The model has no chat template; rows are written in a plain form: {json.dumps(written)}."


def encode(rows: Sequence[Row], tokenizer: Any, max_length: int) -> list[Example]:
    """Tokens of the rows in the model's chat form, each row cut at `max_length`.

    Question and answer are tokenized apart, as they are when the tuned model is asked.

    Raises:
        RunFailed: a row cannot be written in that form or tokenized.
    """
    examples = []
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        some = rows[start : start + _ROWS_AT_ONCE]
        for row, (prompt, answer) in zip(some, _tokens(some, tokenizer), strict=True):
            whole, labels = prompt + answer, [IGNORED] * len(prompt) + answer
            is_cut = len(whole) > max_length
            examples.append(Example(row.number, whole[:max_length], labels[:max_length], is_cut))
    return examples


def _tokens(rows: Sequence[Row], tokenizer: Any) -> list[tuple[list[int], list[int]]]:
    """Of each row the question's and the answer's."""
    texts = [_chat_texts(row, tokenizer) for row in rows]
    try:
        prompts = _all_tokens([prompt for prompt, _ in texts], tokenizer, tokenizer.chat_template is None)
        answers = _answer_tokens([answer for _, answer in texts], tokenizer)
    except (ValueError, TypeError) as error:
        if len(rows) > 1:
            # One by one, which finds the row.
            return [tokens for row in rows for tokens in _tokens([row], tokenizer)]
        sentence = f"Row {rows[0].number} cannot be tokenized: {error!r}"
        raise RunFailed(FailureCode.BAD_DATA, sentence, row=rows[0].number) from error
    return list(zip(prompts, answers, strict=True))


def _answer_tokens(answers: list[str], tokenizer: Any) -> list[list[int]]:
    """As they are behind a question.

    A SentencePiece tokenizer begins a text by a blank, which no model writes in the midst of one: such an
    answer is tokenized behind a line break, whose tokens are then left out.
    """
    alone = _all_tokens(answers, tokenizer, False)
    line_break, letter, both = _all_tokens([_BREAK, "a", f"{_BREAK}a"], tokenizer, False)
    if both == line_break + letter:
        return alone
    behind = _all_tokens([_BREAK + answer for answer in answers], tokenizer, False)
    length = len(line_break)
    return [
        two[length:] if two[:length] == line_break else one for one, two in zip(alone, behind, strict=True)
    ]


def _chat_texts(row: Row, tokenizer: Any) -> tuple[str, str]:
    """The question up to where the model speaks, and the answer with the token that ends all generation.

    A template may end a turn by a token that the model's own settings do not know as an end: an answer that
    had learnt that one alone would never stop.
    """
    end = tokenizer.eos_token or ""
    question = [{"role": "user", "content": row.input}]
    answered = [*question, {"role": "assistant", "content": row.output}]
    try:
        prompt = prompt_text(question, tokenizer)
        if tokenizer.chat_template is None:
            return prompt, row.output + end
        whole = _templated(answered, tokenizer)
    except (TemplateError, ValueError, TypeError) as error:
        sentence = f"The model's chat template does not take row {row.number}: {error}"
        raise RunFailed(FailureCode.USER_CODE, sentence, row=row.number) from error
    if not whole.startswith(prompt):
        return prompt, row.output + end
    answer = whole[len(prompt) :]
    return prompt, answer.rstrip().removesuffix(end) + end if end else answer


def prompt_text(messages: Sequence[dict[str, str]], tokenizer: Any) -> str:
    """A conversation up to where the model speaks; without a chat template, one question in a plain form."""
    if tokenizer.chat_template is None:
        return f"{messages[-1]['content']}\n"
    return _templated(messages, tokenizer, add_generation_prompt=True)


def _templated(messages: Sequence[dict[str, str]], tokenizer: Any, **options: bool) -> str:
    template = _with_the_date(tokenizer.get_chat_template())
    return str(tokenizer.apply_chat_template(messages, chat_template=template, tokenize=False, **options))


@lru_cache(maxsize=8)
def _with_the_date(template: str) -> str:
    return _ASKS_THE_DATE.sub(lambda found: json.dumps(TOLD_DATE.strftime(found["format"])), template)


def prompt_tokens(prompt: str, tokenizer: Any) -> list[int]:
    """What the model reads of a prompt; a chat template has written the special tokens already."""
    return _all_tokens([prompt], tokenizer, tokenizer.chat_template is None)[0]


def _all_tokens(texts: list[str], tokenizer: Any, add_special_tokens: bool) -> list[list[int]]:
    """Of all texts by one call: a call for each costs several times what it computes."""
    found: list[list[int]] = tokenizer(texts, add_special_tokens=add_special_tokens)["input_ids"]
    return found
