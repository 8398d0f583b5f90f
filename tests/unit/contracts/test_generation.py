"""What may be asked of a model, and what is refused before any trainer sees it."""

from typing import Any

import pytest
from jsonschema import Draft202012Validator
from pydantic import ValidationError

from tunedeck_contracts.generation import MOST_CHARACTERS, GenerateText

USER = {"role": "user", "content": "Hi"}
SYSTEM = {"role": "system", "content": "Be brief."}
MODEL = {"role": "assistant", "content": "Hello."}


def test_a_question_alone_is_answered_by_the_tuned_model_with_its_likeliest_tokens() -> None:
    asked = GenerateText.model_validate({"prompt": "Hi"})
    assert (asked.adapter, asked.temperature, asked.max_new_tokens, asked.max_seconds) == (
        True,
        0.0,
        256,
        60.0,
    )


@pytest.mark.parametrize(
    "asked",
    [
        {"prompt": "Hi"},
        {"prompt": "Hi", "messages": None},
        {"prompt": None, "messages": [USER]},
        {"prompt": None, "messages": None},
        {"prompt": "Hi", "messages": [USER]},
        {"prompt": "Hi", "temperature": 1},
        {"prompt": "Hi", "temperature": True},
        {},
    ],
)
def test_the_schema_and_the_model_are_of_one_mind(asked: dict[str, Any]) -> None:
    try:
        GenerateText.model_validate(asked)
        is_taken = True
    except ValidationError:
        is_taken = False
    assert Draft202012Validator(GenerateText.model_json_schema()).is_valid(asked) == is_taken


@pytest.mark.parametrize("messages", [[USER], [SYSTEM, USER], [SYSTEM, USER, MODEL, USER]])
def test_a_conversation_ends_with_a_user(messages: list[dict[str, str]]) -> None:
    assert GenerateText.model_validate({"messages": messages}).prompt is None


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ({}, "either `prompt` or `messages`"),
        ({"prompt": "Hi", "messages": [USER]}, "either `prompt` or `messages`"),
        ({"messages": []}, "at least 1"),
        ({"messages": [USER, MODEL]}, "the last of `messages` is a user's"),
        ({"messages": [USER, SYSTEM, USER]}, "only the first"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "'system', 'user' or 'assistant'"),
        ({"messages": [{"role": "user", "content": "x" * 60_000}] * 2}, "100,000 characters together"),
        ({"prompt": "x" * (MOST_CHARACTERS + 1)}, "at most 100000"),
        ({"prompt": "Hi", "max_new_tokens": 0}, "greater than or equal to 1"),
        ({"prompt": "Hi", "max_new_tokens": 4097}, "less than or equal to 4096"),
        ({"prompt": "Hi", "temperature": -0.1}, "greater than or equal to 0"),
        ({"prompt": "Hi", "temperature": 2.1}, "less than or equal to 2"),
        ({"prompt": "Hi", "temperature": float("nan")}, "finite number"),
        ({"prompt": "Hi", "temperature": "1"}, "valid number"),
        ({"prompt": "Hi", "top_p": 0}, "greater than 0"),
        ({"prompt": "Hi", "seed": -1}, "greater than or equal to 0"),
        ({"prompt": "Hi", "seed": 2**63}, "less than"),
        ({"prompt": "Hi", "adapter": "yes"}, "valid boolean"),
        ({"prompt": "Hi", "max_seconds": 601}, "less than or equal to 600"),
    ],
)
def test_what_is_out_of_bounds_is_refused_with_the_reason(asked: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        GenerateText.model_validate(asked)
