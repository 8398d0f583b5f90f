"""What a benchmark measured, the table on the screen, and the rows of `results.json`."""

import json
import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

Figure = TypeVar("Figure")

RESULTS = Path(__file__).with_name("results.json")
ROUNDS = 5


@dataclass(frozen=True)
class Measurement:
    """One figure of ours and the peer's, round by round.

    `goal` is held against ours / peer; against ours where there is no peer. None: for information.
    `packages` names the distributions whose versions the row gives.
    """

    name: str
    unit: str
    ours: Sequence[float]
    higher_is_better: bool
    goal: float | None = None
    peer: Sequence[float] = ()
    peer_name: str | None = None
    packages: Sequence[str] = ()

    @property
    def ratios(self) -> list[float]:
        """Ours / peer of each round, the smallest first; empty without a peer."""
        return sorted(ours / peer for ours, peer in zip(self.ours, self.peer, strict=bool(self.peer)))

    @property
    def judged(self) -> float:
        """What `goal` is held against: the median ratio, or our median."""
        return median(self.ratios or self.ours)

    @property
    def reached(self) -> bool | None:
        """Whether the goal is reached; None where there is none."""
        if self.goal is None:
            return None
        return self.judged >= self.goal if self.higher_is_better else self.judged <= self.goal

    def row(self) -> dict[str, Any]:
        """The row that `results.json` keeps. Figures are medians over the rounds."""
        ratios = self.ratios
        return {
            "name": self.name,
            "ours": _rounded(median(self.ours)),
            "peer": _rounded(median(self.peer)) if self.peer else None,
            "peer_name": self.peer_name,
            "unit": self.unit,
            "ratio": _rounded(median(ratios)) if ratios else None,
            "ratio_range": [_rounded(ratios[0]), _rounded(ratios[-1])] if ratios else None,
            "rounds": len(self.ours),
            "goal": self.goal,
            "higher_is_better": self.higher_is_better,
            "machine": machine(),
            "versions": {
                "python": platform.python_version(),
                **{name: version(name) for name in self.packages},
            },
            "date": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        }


def alternated(
    ours: Callable[[], Figure], peer: Callable[[], Figure], rounds: int = ROUNDS
) -> tuple[list[Figure], list[Figure]]:
    """Measure both in every round, each first in every other one, so that a busy machine hits both alike."""
    sides = (ours, peer)
    measured: tuple[list[Figure], list[Figure]] = ([], [])
    for number in range(rounds):
        for side in (0, 1) if number % 2 == 0 else (1, 0):
            measured[side].append(sides[side]())
    return measured


def machine() -> dict[str, Any]:
    """Cores, processor and memory; nothing that names the machine."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {"cores": os.cpu_count(), "cpu": _cpu_model(), "memory_gib": round(memory / 2**30, 1)}


def append(measurements: Sequence[Measurement]) -> None:
    """Add rows to `results.json`; what earlier runs measured stays."""
    rows = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    rows += [one.row() for one in measurements]
    RESULTS.write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n")


def table(measurements: Sequence[Measurement]) -> str:
    """The measurements for a person."""
    lines = [f"{'benchmark':34}{'ours':>10}{'peer':>10} {'unit':8}{'ratio (min..max)':>22}{'goal':>9}"]
    for one in measurements:
        ratios = one.ratios
        peer = f"{median(one.peer):.4g}" if one.peer else "-"
        ratio = f"{median(ratios):.2f} ({ratios[0]:.2f}..{ratios[-1]:.2f})" if ratios else "-"
        sign = ">=" if one.higher_is_better else "<="
        goal = "-" if one.goal is None else f"{sign} {one.goal:g}"
        verdict = {True: "reached", False: "MISSED", None: ""}[one.reached]
        ours = f"{median(one.ours):.4g}"
        lines.append(f"{one.name:34}{ours:>10}{peer:>10} {one.unit:8}{ratio:>22}{goal:>9} {verdict}")
    return "\n".join(lines)


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")
