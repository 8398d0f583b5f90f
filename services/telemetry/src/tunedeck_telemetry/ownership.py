"""Which run's points are a job's curve.

Fence f owns the iterations after its resume step: a run that went on from
step 30 replaces what its forerunner told after 30 and keeps what came before.
What came before it tells again, out of its checkpoint: where a point of its
forerunner never arrived, the same point is there under the newer fence.
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
    """The iterations `after < n <= upto` of one fence; `upto` None has no end.

    `retold_by` are the newer fences: each has gone on from here or later, so that a point of theirs up to
    `upto` is a copy of this fence's.
    """

    fence: int
    after: int
    upto: int | None
    retold_by: tuple[int, ...] = ()


def owned_spans(tenures: Iterable[Tenure]) -> list[Span]:
    """The spans of a job's curve, by fence; iterations grow along them and none is in two."""
    spans: list[Span] = []
    upto: int | None = None
    newest_first = sorted(tenures, key=lambda one: one.fence, reverse=True)
    fences = sorted({tenure.fence for tenure in newest_first})
    for tenure in newest_first:
        if upto is None or tenure.resume_step < upto:
            newer = tuple(fence for fence in fences if fence > tenure.fence)
            spans.append(Span(tenure.fence, tenure.resume_step, upto, newer))
            upto = tenure.resume_step
    return spans[::-1]
