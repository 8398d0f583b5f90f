"""The README.md of a tuned model."""

import re
from pathlib import Path

from tunedeck_contracts.artifacts import MANIFEST, Losses, MergeAgreement
from tunedeck_contracts.jobs import Result
from tunedeck_contracts.runs import Run
from tunedeck_trainer.training_record import CURVES, evaluations_table

CARD = "README.md"
_LICENCE = re.compile(r"^license:\s*([\w.+-]+)\s*$", re.MULTILINE)

_ADAPTER_USE = """\
from peft import PeftModel
from transformers import AutoModelForCausalLM

base = AutoModelForCausalLM.from_pretrained("{base}"{revision})
model = PeftModel.from_pretrained(base, "path/to/this/folder")"""

_MODEL_USE = """\
from transformers import AutoModelForCausalLM

model = AutoModelForCausalLM.from_pretrained("path/to/this/folder")"""


def model_card(
    run: Run, result: Result, losses: Losses, merge: MergeAgreement | None, licence: str | None, form: str
) -> str:
    """The card with the Hub's metadata on top. `form`: how a row was written for the model, as a sentence."""
    is_whole = run.hyperparameters.method == "full"
    table = "\n".join(f"| {name} | {value} |" for name, value in run.hyperparameters.model_dump().items())
    header = [
        f"base_model: {run.model.uid}",
        "base_model_relation: finetune" if is_whole else "base_model_relation: adapter",
        f"library_name: {'transformers' if is_whole else 'peft'}",
        "pipeline_tag: text-generation",
        f"tags: [{'full-fine-tuning' if is_whole else run.hyperparameters.method}]",
    ]
    if licence is not None:
        header.append(f"license: {licence}")
    front = "\n".join(header)
    before, after = result.validation_loss_before, result.validation_loss_after
    revision = f', revision="{run.model.revision}"' if run.model.source == "hub" else ""
    what = "All weights of" if is_whole else "A LoRA adapter for"
    use = _MODEL_USE if is_whole else _ADAPTER_USE.format(base=run.model.uid, revision=revision)
    return f"""---
{front}
---

# {run.model_saving.model_name or run.job_name}

{what} `{run.model.uid}` (`{run.model.revision}`),
trained by Tunedeck on the dataset "{run.dataset.name}". Licence of the base model: {licence or "unknown"}.

| | before | after |
|---|---|---|
| validation loss (nats per answer token) | {before:.4f} | {after:.4f} |

The weights are those after step {result.best_step}, where the validation loss was lowest.
{result.train_rows} rows to train on, {result.validation_rows} to validate,
{result.truncated_rows} of them cut; {result.trained_tokens} answer tokens trained in {result.seconds:.0f} s.

## Losses

| step | training | validation |
|---|---|---|
{evaluations_table(losses)}

Each step's are in `{CURVES}`, and with what they were computed on in `{MANIFEST}`: `tunedeck verify` trains
the first steps again and compares.

## Settings

| setting | value |
|---|---|
{table}

## Use

{form}

```python
{use}
```
{_about_merge(merge) if merge is not None else ""}"""


def _about_merge(merge: MergeAgreement) -> str:
    return f"""
The folder `merged/` has adapter and base model in one. Asked the prompts of {merge.prompts} validation rows,
greedily and for at most {merge.new_tokens} tokens, it gave the adapter's answer to {merge.equal_answers:.0%}
of them, and the adapter's token at {merge.equal_tokens:.1%} of the places.
"""


def licence_of(base_folder: Path) -> str | None:
    """The licence that the base model's own card names, or None."""
    try:
        card = (base_folder / CARD).read_text(encoding="utf-8")
    except OSError:
        return None
    found = _LICENCE.search(card.split("\n---", 1)[0])
    return found.group(1) if found else None
