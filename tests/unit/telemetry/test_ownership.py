"""Which fence's points are the curve."""

from hypothesis import given
from hypothesis import strategies as st

from tunedeck_telemetry.ownership import Span, Tenure, owned_spans


def test_a_run_from_the_start_replaces_the_one_before() -> None:
    assert owned_spans([Tenure(1, 0), Tenure(2, 0)]) == [Span(2, 0, None)]


def test_a_resumed_run_keeps_what_came_before_its_step() -> None:
    assert owned_spans([Tenure(3, 3), Tenure(1, 0)]) == [Span(1, 0, 3, retold_by=(3,)), Span(3, 3, None)]


def test_a_later_run_from_an_earlier_step_replaces_the_runs_between() -> None:
    tenures = [Tenure(1, 0), Tenure(2, 30), Tenure(3, 10)]
    assert owned_spans(tenures) == [Span(1, 0, 10, retold_by=(2, 3)), Span(3, 10, None)]


def test_a_run_that_fell_back_owns_what_it_tells_again() -> None:
    tenures = [Tenure(1, 0), Tenure(2, 20), Tenure(2, 10)]
    for order in (tenures, tenures[::-1]):
        owned = [
            (span.fence, n)
            for span in owned_spans(order)
            for n in range(span.after + 1, (span.upto or 30) + 1)
        ]
        assert owned == [(1, n) for n in range(1, 11)] + [(2, n) for n in range(11, 31)]


@given(st.lists(st.integers(0, 50), min_size=1, max_size=8), st.integers(1, 60))
def test_every_iteration_belongs_to_the_newest_fence_that_began_before_it(steps: list[int], n: int) -> None:
    tenures = [Tenure(fence, step) for fence, step in enumerate([0, *steps], start=1)]
    owners = [
        span.fence
        for span in owned_spans(tenures)
        if n > span.after and (span.upto is None or n <= span.upto)
    ]
    assert owners == [max(one.fence for one in tenures if one.resume_step < n)]
