"""One side of the training benchmark in a process of its own: `python -m bench.train_side SIDE FOLDER MODEL`.

It trains and prints a line of JSON: `rate` in unpadded tokens a second after the warm-up, `memory` in bytes
at its peak (the GPU's, or the process's), and `validation_loss` over the same rows by the same code for all.
"""

import json
import logging
import resource
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import DataCollatorForSeq2Seq, Trainer, TrainerCallback, TrainingArguments, set_seed
from transformers.utils.logging import disable_progress_bar

from bench import train_flops
from bench.train_setup import SETTINGS, STEPS, WARM_UP, Setup
from tunedeck_contracts.datasets import ResolvedDataset
from tunedeck_contracts.hyperparameters import Hyperparameters
from tunedeck_contracts.jobs import Result
from tunedeck_contracts.model_saving import ModelSaving
from tunedeck_contracts.models import ResolvedModel
from tunedeck_contracts.runs import Run
from tunedeck_contracts.training import LossPoint
from tunedeck_trainer.pipe import FromChild, PointMade, Spec, Wishes
from tunedeck_trainer.training_record import LOG

Figures = dict[str, float]


def main() -> None:
    """Train one side."""
    side, folder, model = sys.argv[1:]
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    warnings.simplefilter("ignore")
    disable_progress_bar()
    setup = Setup(Path(folder), model)
    print(json.dumps(SIDES[side](setup)))


def _peak_memory(setup: Setup) -> int:
    if setup.on_gpu:
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def rate_of(points: list[LossPoint]) -> float:
    """Tokens a second between the ends of two steps; not the last, whose point waits for its evaluation."""
    first, last = points[WARM_UP - 1], points[STEPS - 2]
    return (last.tokens - first.tokens) / (last.timestamp - first.timestamp).total_seconds()


def ours(setup: Setup) -> Figures:
    """The recipe as the training process runs it, telling nobody; and what it executes beside the machine."""
    from peft import PeftModel

    _, points, run_folder = fine_tuned(setup, SETTINGS)
    memory = _peak_memory(setup)
    base = setup.base()
    step_batches = train_flops.batches(setup)[WARM_UP : STEPS - 1]
    executed = positions = 0.0
    for batch in step_batches:
        prefix = train_flops.shared(batch, setup)
        executed += train_flops.flops(batch, prefix, base)
        positions += train_flops.positions(batch, prefix)
    seconds = (points[STEPS - 2].timestamp - points[WARM_UP - 1].timestamp).total_seconds()
    return {
        "rate": rate_of(points),
        "flops": executed / seconds,
        "memory": memory,
        "mm": train_flops.mm_rate(round(positions / len(step_batches)), base.config, setup),
        "validation_loss": setup.validation_loss(PeftModel.from_pretrained(base, run_folder / "tuned")),
    }


def fine_tuned(setup: Setup, settings: Hyperparameters) -> tuple[Result, list[LossPoint], Path]:
    """Train by the recipe; the result, the points and the run's folder."""
    from tunedeck_trainer.recipe import fine_tune

    points: list[LossPoint] = []

    def tell(message: FromChild) -> None:
        if isinstance(message, PointMade):
            points.append(message.point)

    folder = Path(tempfile.mkdtemp(prefix="run-", dir=setup.folder))
    # The process around a run writes its log; here is none.
    (folder / LOG).touch()
    return fine_tune(_spec(setup, settings), folder, tell, Wishes()), points, folder


def _spec(setup: Setup, settings: Hyperparameters) -> Spec:
    dataset = ResolvedDataset(
        uid="dataset_1_a", name="Python documentation", rows=2, rows_blob="b", rows_sha256="0"
    )
    run = Run(
        job_uid="job_1_aaaa",
        job_name="Benchmark",
        fence=1,
        attempt=1,
        training_mode="manual",
        model=ResolvedModel(uid=setup.model, name=setup.model, revision="", source="folder"),
        dataset=dataset,
        hyperparameters=settings,
        model_saving=ModelSaving(),
        lease_seconds=30,
        beat_seconds=5,
    )
    device = "cuda:0" if setup.on_gpu else "cpu"
    return Spec(run=run, models_dir=setup.models, rows_file=setup.rows, device=device)


def plain(setup: Setup) -> Figures:
    """transformers' Trainer with its defaults, the model's own loss, and its collator that pads."""
    arguments = TrainingArguments(bf16=setup.on_gpu, use_cpu=not setup.on_gpu, **_common(setup))
    set_seed(SETTINGS.seed)
    trainer = Trainer(
        model=setup.with_lora(),
        args=arguments,
        train_dataset=_rows(setup),
        data_collator=DataCollatorForSeq2Seq(setup.tokenizer),
    )
    return _trained(trainer, setup)


def trl(setup: Setup, **changed: Any) -> Figures:
    """TRL's SFTTrainer with its defaults on the same tokens."""
    from datasets import Dataset
    from peft import LoraConfig
    from trl import SFTConfig, SFTTrainer

    arguments = SFTConfig(
        bf16=setup.on_gpu,
        use_cpu=not setup.on_gpu,
        dataset_kwargs={"skip_prepare_dataset": True},
        **_common(setup),
        **changed,
    )
    set_seed(SETTINGS.seed)
    trainer = SFTTrainer(
        model=setup.base(),
        args=arguments,
        train_dataset=Dataset.from_list(_rows(setup)),
        processing_class=setup.tokenizer,
        peft_config=LoraConfig(
            task_type="CAUSAL_LM",
            r=SETTINGS.lora_r,
            lora_alpha=SETTINGS.lora_alpha,
            lora_dropout=SETTINGS.lora_dropout,
            target_modules=SETTINGS.target_modules,
        ),
    )
    return _trained(trainer, setup)


def trl_tuned(setup: Setup) -> Figures:
    """The same without gradient checkpointing, rows of like length together.

    Its default loss computes the output layer at labels alone. Packing and padding-free batches ask for flash
    attention, and Liger-Kernel for Triton: neither runs on a CPU. On a GPU, Liger-Kernel where it is there.
    """
    from importlib.util import find_spec

    liger = {"use_liger_kernel": True} if setup.on_gpu and find_spec("liger_kernel") is not None else {}
    return trl(setup, gradient_checkpointing=False, train_sampling_strategy="group_by_length", **liger)


def _common(setup: Setup) -> dict[str, Any]:
    return {
        "output_dir": str(setup.folder / "peer"),
        "per_device_train_batch_size": SETTINGS.batch_size,
        "max_steps": STEPS,
        "learning_rate": SETTINGS.learning_rate,
        "lr_scheduler_type": SETTINGS.scheduler,
        "weight_decay": SETTINGS.weight_decay,
        "seed": SETTINGS.seed,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
    }


def _rows(setup: Setup) -> list[dict[str, list[int]]]:
    return [
        {"input_ids": one.input_ids, "attention_mask": [1] * len(one.input_ids), "labels": one.labels}
        for one in setup.prepared.train
    ]


class StepEnds(TrainerCallback):  # type: ignore[misc]
    """When each step ended."""

    def __init__(self) -> None:
        self.at: list[float] = []

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.at.append(time.perf_counter())


def _trained(trainer: Any, setup: Setup) -> Figures:
    tokens: list[int] = []
    collator = trainer.data_collator

    def counted(examples: list[dict[str, Any]]) -> Any:
        tokens.append(sum(len(one["input_ids"]) for one in examples))
        return collator(examples)

    trainer.data_collator = counted
    ends = StepEnds()
    trainer.add_callback(ends)
    trainer.train()
    seconds = ends.at[STEPS - 2] - ends.at[WARM_UP - 1]
    return {
        "rate": sum(tokens[WARM_UP : STEPS - 1]) / seconds,
        "memory": _peak_memory(setup),
        "validation_loss": setup.validation_loss(trainer.model),
    }


SIDES: dict[str, Callable[[Setup], Figures]] = {
    "ours": ours,
    "plain": plain,
    "trl": trl,
    "trl_tuned": trl_tuned,
}

if __name__ == "__main__":
    main()
