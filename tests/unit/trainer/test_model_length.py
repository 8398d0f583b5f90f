"""A row longer than the model reads: cut alike by a run, its estimate and its preview."""

import json
from pathlib import Path

import pytest
from transformers import AutoConfig

from tests.unit.trainer.child_runs import MODEL, a_run, run_child
from tests.unit.trainer.resume_runs import GPT2
from tunedeck_contracts.hyperparameters import Hyperparameters
from tunedeck_contracts.jobs import Status
from tunedeck_contracts.plans import Plan
from tunedeck_trainer import data
from tunedeck_trainer.estimate_question import EstimateQuestion
from tunedeck_trainer.estimating import estimate
from tunedeck_trainer.model_config import load_config, positions
from tunedeck_trainer.pipe import Finished
from tunedeck_trainer.preview_question import PreviewQuestion
from tunedeck_trainer.previewing import preview
from tunedeck_trainer.tokenizer_loading import load_tokenizer

READS = 128
LONG = 4
ROWS = 10
SETTINGS = Hyperparameters(max_steps=2, batch_size=8, eval_steps=100, learning_rate=1e-3)


@pytest.fixture(scope="module")
def rows_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four rows are longer than the model reads, two of which have no answer within that."""
    file = tmp_path_factory.mktemp("long") / "rows.jsonl"
    rows = [{"input": f"What is {n}?", "output": f"It is {n}."} for n in range(ROWS - LONG)]
    rows += [{"input": f"Long {n}?", "output": "long " * 40} for n in range(2)]
    rows += [{"input": f"{n} why? " * 40, "output": "So."} for n in range(2)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def test_a_run_an_estimate_and_a_preview_cut_at_the_models_own_length(
    gpt2_dir: Path, rows_file: Path, tmp_path: Path
) -> None:
    (tmp_path / "rows.jsonl").write_bytes(rows_file.read_bytes())
    told, status, printed = run_child(tmp_path, gpt2_dir, SETTINGS, model=GPT2)
    assert status == 0, printed
    assert f"{LONG} rows are longer than the model's own length of {READS} tokens" in printed
    assert f"2 rows have no answer within the model's own length of {READS} tokens" in printed
    end = told[-1]
    assert isinstance(end, Finished) and end.result is not None
    assert (end.result.truncated_rows, end.result.train_rows + end.result.validation_rows) == (LONG, ROWS - 2)

    run = a_run(SETTINGS, GPT2)
    plan = Plan(
        job_uid=run.job_uid,
        model=run.model,
        dataset=run.dataset,
        hyperparameters=SETTINGS,
        status=Status.CREATED,
    )
    shown = preview(PreviewQuestion(plan=plan, models_dir=gpt2_dir, rows_file=rows_file))
    assert (shown.truncated_rows, shown.untrainable_rows) == (LONG, 2)
    assert (shown.train_rows, shown.validation_rows) == (end.result.train_rows, end.result.validation_rows)
    assert max(row.token_count for row in shown.rows) == shown.max_length == READS
    quote = estimate(
        EstimateQuestion(plan=plan, models_dir=gpt2_dir, rows_file=rows_file, device="cpu", threads=1)
    )
    assert quote.tokens.expected > 0


def test_max_length_is_the_limit_where_it_is_lower_or_the_model_names_none(
    gpt2_dir: Path, rows_file: Path
) -> None:
    tokenizer = load_tokenizer(gpt2_dir / GPT2)
    for length, reads in ((100, READS), (100, None), (READS, READS)):
        prepared = data.prepare(rows_file, tokenizer, Hyperparameters(max_length=length), reads)
        assert f"{LONG} rows are longer than max_length and were cut." in prepared.warnings
        assert max(len(one.input_ids) for one in prepared.train) == length


def test_the_positions_of_a_model_are_those_of_its_configuration(gpt2_dir: Path, models_dir: Path) -> None:
    assert positions(load_config(gpt2_dir / GPT2)) == READS
    assert positions(load_config(models_dir / MODEL)) == 512
    # Relative positions, which do not end.
    assert positions(AutoConfig.for_model("bloom")) is None
    assert positions(AutoConfig.for_model("xlnet")) is None
