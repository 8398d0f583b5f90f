"""What a client of a live stream has of a curve that several runs have made."""

import pytest

from tunedeck_contracts.telemetry import sequence
from tunedeck_gateway.curve_place import CurvePlace


def place(at: tuple[int, int], **resume_steps: int) -> CurvePlace:
    """At a run's iteration; `run_2=30` is a run of fence 2 that went on from step 30."""
    made = CurvePlace(sequence(*at))
    for name, step in resume_steps.items():
        made.begins(int(name.removeprefix("run_")), step)
    return made


@pytest.mark.parametrize(
    ("where", "point", "reached"),
    [
        (place((0, 0)), (1, 0), True),
        (place((0, 0), run_1=0), (1, 1), False),
        (place((1, 4), run_1=0), (1, 4), True),
        (place((1, 4), run_1=0), (1, 5), False),
        # What comes before the first own point of a run that went on is an older run's.
        (place((1, 50), run_1=0, run_2=30), (2, 30), True),
        (place((1, 20), run_1=0, run_2=30), (2, 30), False),
        (place((1, 50), run_1=0, run_2=30), (2, 31), False),
        # Points that were told again were shown before it was known that they were.
        (place((2, 10), run_1=0, run_2=30), (2, 30), True),
        # Of a run between, of which only its points are known.
        (place((1, 50), run_3=40), (2, 30), True),
        (place((2, 33), run_3=40), (2, 34), False),
    ],
)
def test_what_is_reached(where: CurvePlace, point: tuple[int, int], reached: bool) -> None:
    assert where.has_reached(*point) is reached


def test_what_a_run_tells_again_is_not_needed() -> None:
    where = place((1, 50), run_1=0, run_2=30)
    assert [where.has(2, iteration) for iteration in (1, 30, 31)] == [True, True, False]
    assert where.has(1, 50) and not where.has(1, 51)
    assert where.last_run == 2
    assert where.knows(2) and not where.knows(3)
