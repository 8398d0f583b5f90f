"""Which fence owns an iteration."""

from hypothesis import given
from hypothesis import strategies as st

from tunedeck_telemetry.ownership import Span, Tenure, owned_spans


def test_a_run_from_the_start_replaces_its_forerunner() -> None:
    assert owned_spans([Tenure(1, 0), Tenure(2, 0)]) == [Span(2, 0, None)]


def test_a_run_that_went_on_keeps_what_came_before_its_resume_step() -> None:
    assert owned_spans([Tenure(1, 0), Tenure(2, 3)]) == [Span(1, 0, 3), Span(2, 3, None)]


def test_a_third_run_cuts_both_of_its_forerunners() -> None:
    assert owned_spans([Tenure(5, 2), Tenure(1, 0), Tenure(3, 4)]) == [Span(1, 0, 2), Span(5, 2, None)]
    assert owned_spans([Tenure(1, 0), Tenure(3, 4), Tenure(5, 9)]) == [
        Span(1, 0, 4),
        Span(3, 4, 9),
        Span(5, 9, None),
    ]


def test_a_job_that_never_ran_has_no_curve() -> None:
    assert owned_spans([]) == []


@given(st.dictionaries(st.integers(1, 20), st.integers(0, 30), min_size=1), st.integers(1, 40))
def test_an_iteration_is_in_one_span_at_most_and_that_of_its_newest_owner(
    resumed: dict[int, int], iteration: int
) -> None:
    spans = owned_spans(Tenure(fence, step) for fence, step in resumed.items())
    holders = [one.fence for one in spans if one.after < iteration and (one.upto is None or iteration <= one.upto)]
    owners = [fence for fence, step in resumed.items() if step < iteration]
    assert holders == ([max(owners)] if owners else [])
    assert [one.fence for one in spans] == sorted(one.fence for one in spans)
