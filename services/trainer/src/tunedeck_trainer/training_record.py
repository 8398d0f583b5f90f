"""What a run leaves of its course beside the tuned model: its losses as numbers and as curves."""

import csv
from pathlib import Path

from tunedeck_contracts.artifacts import Evaluation, Losses
from tunedeck_contracts.training import LossPoint
from tunedeck_trainer.pipe import PointMade, decode

CURVES = "losses.csv"
LOG = "training_log.txt"

_COLUMNS = ("step", "epoch", "train_loss", "validation_loss", "learning_rate", "grad_norm", "tokens")
_SHOWN_EVALUATIONS = 12


def read_points(file: Path) -> list[LossPoint]:
    """Every point of the run, those of its former attempts too, in their order."""
    with file.open("rb") as lines:
        told = [decode(line) for line in lines]
    return [one.point for one in told if isinstance(one, PointMade)]


def losses_of(points: list[LossPoint], before: float, eval_steps: int) -> Losses:
    """The loss of each step and of each evaluation; `before` is the evaluation's before the first step."""
    evaluated = [one for one in points if one.step % eval_steps == 0 or one is points[-1]]
    return Losses(
        train=[one.train_loss for one in points],
        evaluations=[
            Evaluation(step=0, validation_loss=before),
            *(Evaluation(step=one.step, validation_loss=one.validation_loss) for one in evaluated),
        ],
    )


def write_curves(points: list[LossPoint], file: Path) -> None:
    """The points as CSV, numbers as they are; `validation_loss` is that of the newest evaluation."""
    with file.open("w", newline="", encoding="utf-8") as opened:
        table = csv.writer(opened)
        table.writerow(_COLUMNS)
        table.writerows([getattr(one, column) for column in _COLUMNS] for one in points)


def evaluations_table(losses: Losses) -> str:
    """The evaluations as rows of Markdown; of many, some that are evenly spread, with the first and last."""
    rows = losses.evaluations
    if len(rows) > _SHOWN_EVALUATIONS:
        last = len(rows) - 1
        spread = [round(number * last / (_SHOWN_EVALUATIONS - 1)) for number in range(_SHOWN_EVALUATIONS)]
        rows = [rows[number] for number in spread]
    return "\n".join(
        f"| {one.step} | {_train(losses, one.step)} | {one.validation_loss:.4f} |" for one in rows
    )


def _train(losses: Losses, step: int) -> str:
    return f"{losses.train[step - 1]:.4f}" if 0 < step <= len(losses.train) else "-"
