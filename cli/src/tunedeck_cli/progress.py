"""Shows a training run on a terminal from the frames of its stream."""

from collections.abc import Iterable
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

Frame = dict[str, Any]


def show(frames: Iterable[Frame], console: Console, *, total: int) -> int:
    """Draw a bar until the frames end; returns the number of points seen.

    Where the output is no terminal there is a line for each point in place of the bar.
    """
    with _bar(console) as bar:
        task = bar.add_task("queued", total=total, loss="", rate="")
        points = 0
        for frame in frames:
            if phase := frame.get("phase") or (frame.get("type") == "status" and frame.get("status")):
                bar.update(task, description=str(phase))
            if frame.get("type") != "point":
                continue
            points += 1
            training = frame["training"]
            bar.update(
                task,
                completed=training["step"],
                total=frame.get("total") or total,
                description="training",
                loss=f"loss {training['train_loss']:.3f}, validation {training['validation_loss']:.3f}",
                rate=f"{training.get('tokens_per_second', 0.0):.0f} tokens/s",
            )
            if not console.is_terminal:
                console.print(line(frame))
        return points


def line(frame: Frame) -> str:
    """One point as a line of text."""
    training = frame["training"]
    return (
        f"step {training['step']}/{frame.get('total', '?')}  loss {training['train_loss']:.4f}  "
        f"validation {training['validation_loss']:.4f}  {training.get('tokens_per_second', 0.0):.0f} tokens/s"
    )


def _bar(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description:<10}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[loss]}"),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    )
