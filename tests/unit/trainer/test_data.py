"""Which tokens are trained, and which rows are kept apart."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.trainer.child_runs import MODEL, write_rows
from tunedeck_contracts.hyperparameters import Hyperparameters
from tunedeck_trainer import data, row_tokens
from tunedeck_trainer.failures import RunFailed
from tunedeck_trainer.tokenizer_loading import load_tokenizer


@pytest.fixture(scope="module")
def tokenizer(models_dir: Path) -> Any:
    return load_tokenizer(models_dir / MODEL)


def test_only_the_answer_and_the_end_of_its_turn_are_trained(tokenizer: Any) -> None:
    example = row_tokens.encode([row_tokens.Row(1, "How?", "So.")], tokenizer, 512)[0]
    trained = [label for label in example.labels if label != row_tokens.IGNORED]
    assert tokenizer.decode(trained) == "So.<|im_end|>"
    assert tokenizer.decode(example.input_ids) == (
        "<|im_start|>user\nHow?<|im_end|>\n<|im_start|>assistant\nSo.<|im_end|>"
    )
    assert not example.truncated


def test_a_tokenizer_without_a_chat_template_still_learns_the_answer_alone(models_dir: Path) -> None:
    plain = load_tokenizer(models_dir / MODEL)
    plain.chat_template = None
    example = row_tokens.encode([row_tokens.Row(1, "How?", "So.")], plain, 512)[0]
    assert plain.decode([label for label in example.labels if label != row_tokens.IGNORED]) == "So.<|im_end|>"


def test_a_template_that_tells_the_date_tells_the_same_one_every_day(models_dir: Path) -> None:
    dated = load_tokenizer(models_dir / MODEL)
    dated.chat_template = "{{ strftime_now('%d %b %Y') }}: " + dated.chat_template
    example = row_tokens.encode([row_tokens.Row(1, "How?", "So.")], dated, 512)[0]
    assert dated.decode(example.input_ids).startswith("26 Jul 2024: <|im_start|>user")
    assert dated.decode([label for label in example.labels if label != row_tokens.IGNORED]) == "So.<|im_end|>"


def test_a_template_that_begins_an_answer_otherwise_than_it_writes_one_still_has_it_trained(
    models_dir: Path,
) -> None:
    thinking = load_tokenizer(models_dir / MODEL)
    thinking.chat_template = thinking.chat_template.replace("assistant\n'", "assistant\n<think>'")
    example = row_tokens.encode([row_tokens.Row(1, "How?", "So.")], thinking, 512)[0]
    trained = [label for label in example.labels if label != row_tokens.IGNORED]
    assert thinking.decode(trained) == "So.<|im_end|>"
    assert thinking.decode(example.input_ids).endswith("assistant\n<think>So.<|im_end|>")


def test_a_turn_whose_end_is_no_end_of_generation_is_followed_by_one(models_dir: Path) -> None:
    base = load_tokenizer(models_dir / MODEL)
    base.eos_token = "<|endoftext|>"
    example = row_tokens.encode([row_tokens.Row(1, "How?", "So.")], base, 512)[0]
    trained = [label for label in example.labels if label != row_tokens.IGNORED]
    assert base.decode(trained) == "So.<|im_end|><|endoftext|>"


def test_rows_have_the_same_tokens_together_as_alone(tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_tokens, "_ROWS_AT_ONCE", 2)
    rows = [row_tokens.Row(n, "How?", "So. " * 5 * n) for n in range(1, 6)]
    alone = [one for row in rows for one in row_tokens.encode([row], tokenizer, 100)]
    assert row_tokens.encode(rows, tokenizer, 100) == alone
    assert [one.row for one in alone] == [1, 2, 3, 4, 5]
    assert {one.truncated for one in alone} == {True, False}


def test_a_row_that_cannot_be_tokenized_is_named(tokenizer: Any) -> None:
    rows = [row_tokens.Row(n, "Half of a pair: \ud83d" if n == 4 else "How?", "So.") for n in range(1, 6)]
    with pytest.raises(RunFailed, match="Row 4 cannot be tokenized") as failed:
        row_tokens.encode(rows, tokenizer, 512)
    assert failed.value.row == 4


def test_a_row_that_the_template_refuses_is_named(models_dir: Path) -> None:
    strict = load_tokenizer(models_dir / MODEL)
    refusal = "{% if 'no' in messages[0]['content'] %}{{ raise_exception('not that') }}{% endif %}"
    strict.chat_template = refusal + strict.chat_template
    rows = [row_tokens.Row(n, "no" if n == 2 else "How?", "So.") for n in range(1, 4)]
    with pytest.raises(RunFailed, match="does not take row 2: not that") as failed:
        row_tokens.encode(rows, strict, 512)
    assert failed.value.row == 2


def test_a_long_row_is_cut_and_counted(tokenizer: Any, tmp_path: Path) -> None:
    rows = [{"input": f"{n}", "output": "long " * 40} for n in range(5)]
    rows.append({"input": "question " * 40, "output": "never reached"})
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    prepared = data.prepare(file, tokenizer, Hyperparameters(max_length=100))
    assert prepared.truncated_rows == 6
    assert prepared.untrainable_rows == [6]
    assert [len(one.input_ids) for one in prepared.train] == [100] * 4
    assert any("row" in warning and "6" in warning for warning in prepared.warnings)


def test_every_row_without_a_trained_token_is_named_also_when_none_is_left(
    tokenizer: Any, tmp_path: Path
) -> None:
    long = [3, *range(7, 20), 30]
    rows = [
        {"input": f"q{number}" + ("question " * 40 if number in long else ""), "output": "So."}
        for number in range(1, 31)
    ]
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    prepared = data.prepare(file, tokenizer, Hyperparameters(max_length=100))
    assert prepared.untrainable_rows == long
    assert (
        "15 rows have no answer within max_length and are left out: rows 3, 7-19, 30 of the dataset."
        in prepared.warnings
    )
    with pytest.raises(
        RunFailed, match=r"there are 0\. 30 rows have no answer .* rows 1-30 of the dataset\."
    ) as failed:
        data.prepare(file, tokenizer, Hyperparameters(max_length=8))
    assert failed.value.row == 1


def example(number: int, token: int) -> row_tokens.Example:
    """A row whose tokens are equal to those of all with the same one."""
    return row_tokens.Example(number, [1, token, 2], [row_tokens.IGNORED, token, 2], truncated=False)


def test_the_split_is_seeded_and_shares_no_row() -> None:
    rows = [example(n, n % 40) for n in range(60)]
    settings = Hyperparameters(validation_split=0.2)
    train, validation = data.split(rows, settings)
    assert len(train) + len(validation) == 60
    assert len(validation) == 12
    assert not {tuple(row.input_ids) for row in train} & {tuple(row.input_ids) for row in validation}
    assert data.split(rows, settings) == (train, validation)
    assert data.split(rows, settings.model_copy(update={"seed": 1}))[1] != validation


@pytest.mark.parametrize(("share", "most", "expected"), [(0.5, 3, 3), (0.001, None, 1), (0.99, None, 9)])
def test_both_sides_have_a_row(share: float, most: int | None, expected: int) -> None:
    rows = [example(n, n) for n in range(10)]
    train, validation = data.split(rows, Hyperparameters(validation_split=share, validation_rows=most))
    assert (len(train), len(validation)) == (10 - expected, expected)


def test_rows_that_differ_beyond_the_cut_alone_stay_on_one_side(tokenizer: Any, tmp_path: Path) -> None:
    rows = [{"input": f"{n % 4}", "output": "long " * 40 + str(n)} for n in range(40)]
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = Hyperparameters(max_length=100, validation_split=0.5)
    prepared = data.prepare(file, tokenizer, settings)
    assert prepared.truncated_rows == 40
    assert (len(prepared.train), len(prepared.validation)) == (20, 20)
    sides = ({tuple(one.input_ids) for one in side} for side in (prepared.train, prepared.validation))
    assert not set.intersection(*sides)


@pytest.mark.parametrize("seed", range(8))
def test_a_row_that_is_there_often_does_not_fill_the_validation(seed: int) -> None:
    settings = Hyperparameters(validation_split=0.1, seed=seed)
    rows = [example(n, 7) for n in range(30)] + [example(n, n) for n in range(30, 60)]
    train, validation = data.split(rows, settings)
    assert (len(train), len(validation)) == (54, 6)
    assert 7 not in {row.input_ids[1] for row in validation}
    # Each is there more often than validation has places.
    often = [example(n, 7) for n in range(12)] + [example(n, 8) for n in range(12, 20)]
    train, validation = data.split(often, settings)
    assert {row.input_ids[1] for row in validation} == {8}
    assert (len(train), len(validation)) == (12, 8)


def test_one_distinct_row_is_refused() -> None:
    with pytest.raises(RunFailed, match="two different rows"):
        data.split([example(n, 1) for n in range(3)], Hyperparameters())


def test_a_line_that_is_no_row_is_named(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    write_rows(file, 2)
    file.write_text(file.read_text() + "[1]\n")
    with pytest.raises(RunFailed, match="Row 3"):
        data.read_rows(file)


def test_padding_is_neither_attended_nor_trained() -> None:
    rows = [{"input_ids": [5, 6], "labels": [row_tokens.IGNORED, 6]}, {"input_ids": [7], "labels": [7]}]
    batch = data.collate(rows)
    assert batch["input_ids"].tolist() == [[5, 6], [7, 0]]
    assert batch["attention_mask"].tolist() == [[1, 1], [1, 0]]
    assert batch["labels"].tolist() == [[row_tokens.IGNORED, 6], [7, row_tokens.IGNORED]]
