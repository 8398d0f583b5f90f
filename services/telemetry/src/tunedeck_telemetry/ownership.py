"""Which run's points are a job's curve.

Fence f owns the iterations after its resume step: a run that went on from
step 30 replaces what its forerunner told after 30 and keeps what came before.
"""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Tenure:
    """A run's fence and the step that it went on from (0: from the start)."""

    fence: int
    resume_step: int


@dataclass(frozen=True)
class Span:
    """The iterations `after < n <= upto` of one fence; `upto` None has no end."""

    fence: int
    after: int
    upto: int | None


def owned_spans(tenures: Iterable[Tenure]) -> list[Span]:
    """The spans of a job's curve, by fence; iterations grow along them and none is in two."""
    spans: list[Span] = []
    upto: int | None = None
    for tenure in sorted(tenures, key=lambda one: one.fence, reverse=True):
        if upto is None or tenure.resume_step < upto:
            spans.append(Span(tenure.fence, tenure.resume_step, upto))
            upto = tenure.resume_step
    return spans[::-1]
