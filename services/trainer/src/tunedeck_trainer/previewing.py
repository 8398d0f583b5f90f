"""The first batch of a job as its model will read it.

By the same code as a run of the job: the rows' tokens, their split and order, and their batch.
"""

from itertools import islice
from typing import Any

from tunedeck_contracts.previews import (
    MOST_ROW_NUMBERS,
    MOST_TOKENS,
    JobPreview,
    PreviewedRow,
    PreviewedToken,
)
from tunedeck_trainer import data, model_files, row_tokens
from tunedeck_trainer.model_config import load_config, positions
from tunedeck_trainer.order import EpochOrder
from tunedeck_trainer.preview_question import PreviewQuestion
from tunedeck_trainer.side_answer import answer
from tunedeck_trainer.text_pieces import TextPieces
from tunedeck_trainer.tokenizer_loading import load_tokenizer


def preview(question: PreviewQuestion) -> JobPreview:
    """The first batch with what was cut and left out of the whole dataset.

    Raises:
        RunFailed: a run of the job would fail at the same place.
    """
    plan = question.plan
    settings = plan.hyperparameters
    folder = model_files.locate_tokenizer(plan.model, question.models_dir)
    tokenizer = load_tokenizer(folder)
    prepared = data.prepare(question.rows_file, tokenizer, settings, positions(load_config(folder)))
    lengths = [len(one.input_ids) for one in prepared.train]
    batch_size = settings.batch_size * question.processes
    order = EpochOrder(lengths, batch_size * settings.gradient_accumulation_steps, settings.seed)
    rows = shown([prepared.train[index] for index in islice(order, batch_size)], tokenizer)
    return JobPreview(
        job_uid=plan.job_uid,
        model=plan.model.uid,
        revision=plan.model.revision,
        dataset=plan.dataset.uid,
        template="plain" if tokenizer.chat_template is None else "chat_template",
        form=row_tokens.form(tokenizer),
        batch_size=batch_size,
        gradient_accumulation_steps=settings.gradient_accumulation_steps,
        max_length=prepared.max_length,
        seed=settings.seed,
        train_rows=len(prepared.train),
        validation_rows=len(prepared.validation),
        truncated_rows=prepared.truncated_rows,
        untrainable_rows=len(prepared.untrainable_rows),
        untrainable_row_numbers=prepared.untrainable_rows[:MOST_ROW_NUMBERS],
        rows=rows,
        tokens_left_out=sum(row.token_count - len(row.tokens) for row in rows),
    )


def shown(
    examples: list[row_tokens.Example], tokenizer: Any, most_tokens: int = MOST_TOKENS
) -> list[PreviewedRow]:
    """The examples as one batch; `most_tokens` in all, the first rows' before the later ones'."""
    batch = data.collate([{"input_ids": one.input_ids, "labels": one.labels} for one in examples])
    rows = []
    for position, example in enumerate(examples):
        is_read = batch["attention_mask"][position].bool()
        ids = batch["input_ids"][position][is_read].tolist()
        counted = batch["labels"][position][is_read] != row_tokens.IGNORED
        # The first token of a text is never predicted.
        counted[0] = False
        trained = counted.tolist()
        tokens = [
            PreviewedToken(id=token, text=text, trained=is_trained)
            for (token, text), is_trained in zip(_texts(ids[:most_tokens], tokenizer), trained, strict=False)
        ]
        most_tokens -= len(tokens)
        rows.append(
            PreviewedRow(
                row=example.row,
                truncated=example.truncated,
                token_count=len(ids),
                trained_token_count=sum(trained),
                padding=len(is_read) - len(ids),
                tokens=tokens,
            )
        )
    return rows


def _texts(ids: list[int], tokenizer: Any) -> list[tuple[int, str]]:
    pieces = TextPieces(tokenizer, with_special=True)
    told = [piece for one in ids for piece in pieces.add(one)]
    return [*told, *pieces.rest()]


def main() -> int:
    """Answer on standard output what standard input asks; the exit status."""
    return answer(PreviewQuestion, preview)
