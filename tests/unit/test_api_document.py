"""The judge of the interface's document: what it reads, and what it lets through."""

from typing import Any

import pytest

from tests.support.api_document import differences, example, operation, operations, status_codes


def test_every_documented_request_is_read() -> None:
    names = [one.name for one in operations()]
    assert len(names) == len(set(names)) == 24
    assert [one.name for one in operations() if one.example is None] == [
        "GET /api/jobs/current",
        "GET /api/jobs/past",
        "GET /api/training/resources/current",
    ]


def test_parameters_bodies_and_statuses_are_read() -> None:
    query, limit = operation("GET /api/models/search").parameters
    assert (query.name, query.is_required, query.default) == ("query", True, None)
    assert (limit.name, limit.is_required, limit.default) == ("limit", False, 10)
    assert [one.name for one in operation("POST /api/training/mode/{mode}").parameters] == ["mode"]
    assert operation("POST /api/jobs").body["modelSaving"]["saveModel"] is True
    assert operation("POST /api/preview-csv").content_type == "multipart/form-data"
    assert operation("GET /api/jobs/{uid}").example["live_metrics"]["current_step"] == 150
    assert status_codes() == [200, 201, 400, 401, 404, 409, 413, 422, 500, 503]


def test_remarks_stand_for_more_keys() -> None:
    assert example('{\n  "a": 1,\n  // ... more\n}') == {"a": 1}


@pytest.mark.parametrize(
    ("expected", "answer"),
    [
        ({"a": 1}, {"a": 2, "b": None}),
        ({"a": 0.5}, {"a": 1}),
        ({"a": "2025-07-03T12:00:00.000Z"}, {"a": "2026-01-31T00:00:00.001Z"}),
        ({"errors": []}, {"errors": ["anything"]}),
        ({"tags": ["a"]}, {"tags": []}),
        ([{"gpu_temp": 72}], [{"gpu_temp": None}, {"gpu_temp": 71.5}]),
        ({"temperatures": {"gpu": 72}}, {"temperatures": {"gpu": None}}),
    ],
)
def test_the_same_shape_is_no_difference(expected: Any, answer: Any) -> None:
    assert list(differences(expected, answer)) == []


@pytest.mark.parametrize(
    ("expected", "answer", "difference"),
    [
        ({"a": {"b": 1}}, {"a": {}}, "a lacks 'b'"),
        ({"a": 1}, {"a": 1.0}, "a is 1.0"),
        ({"a": 1}, {"a": True}, "a is True"),
        ({"a": True}, {"a": 1}, "a is 1"),
        ({"a": 0.5}, {"a": "0.5"}, "a is '0.5'"),
        ({"a": "b"}, {"a": None}, "a is None"),
        ({"a": 1}, [], "the answer is []"),
        ({"a": "2025-07-03T12:00:00.000Z"}, {"a": "2025-07-03T12:00:00+00:00"}, "a is '2025"),
        ([{"a": 1}], [{"a": 1}, {"a": "x"}], "[1].a is 'x'"),
        ([{"a": 1}], [], "the answer is empty"),
        ({"validation": {"gpu": 1}}, {"validation": {"gpu": None}}, "validation.gpu is None"),
    ],
)
def test_another_shape_is_a_difference(expected: Any, answer: Any, difference: str) -> None:
    (found,) = differences(expected, answer)
    assert found.startswith(difference)
