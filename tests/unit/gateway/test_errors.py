"""What the framework itself refuses has the form of every error."""

import json

import httpx
import pytest

from tunedeck_gateway.app import create_app
from tunedeck_gateway.settings import GatewaySettings


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/", "GET"),
        ("/api/jobs", "GET, POST"),
        ("/api/jobs/job_1_a", "DELETE, GET, PATCH"),
        ("/api/models/owner/name", "DELETE, GET"),
        ("/api/models/search", "GET"),
        ("/api/datasets/rows", "DELETE, GET, PATCH"),
    ],
)
async def test_a_method_that_is_not_taken_is_answered_with_those_that_are(path: str, allowed: str) -> None:
    async with client() as http:
        answer = await http.request("TRACE", path)
    assert (answer.status_code, answer.headers["Allow"]) == (405, allowed)
    assert answer.json() == {
        "detail": f"TRACE is not taken at {path}; /docs lists what is.",
        "status_code": 405,
        "error_type": "MethodNotAllowed",
    }


def client() -> httpx.AsyncClient:
    transport = httpx.ASGITransport(create_app(GatewaySettings(), monitor_port=8001))
    return httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000")


async def test_a_file_of_the_documentation_is_only_read() -> None:
    async with client() as http:
        answer = await http.post("/docs/assets/swagger-ui.css")
    assert (answer.status_code, answer.headers["Allow"]) == (405, "GET, HEAD")


async def test_what_is_nested_too_deeply_is_refused() -> None:
    deep: list[object] = []
    for _ in range(300):
        deep = [deep]
    named = {"model": {"uid": "m"}, "dataset": {"uid": "d"}, "hyperparameters": {"x": deep}}
    body = json.dumps({"name": "x", "configuration": named})
    async with client() as http:
        answer = await http.post("/api/jobs", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422 and "nested too deeply" in answer.json()["detail"]


@pytest.mark.parametrize("path", ["/api/datasets", "/api/preview-csv"])
@pytest.mark.parametrize("body", [b"{", b"\xff"])
async def test_no_json_where_a_file_may_come_too(path: str, body: bytes) -> None:
    async with client() as http:
        answer = await http.post(path, content=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["error_type"]) == (422, "ValidationFailed")


async def test_a_refused_preflight_says_what_to_set() -> None:
    asking = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    async with client() as http:
        answer = await http.options("/api/jobs", headers=asking)
    assert (answer.status_code, answer.json()["error_type"]) == (403, "Forbidden")
    assert "TUNEDECK_CORS_ORIGINS" in answer.json()["detail"]
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        (b'{"name": ', 422, "no JSON from character 9 on: Expecting value"),
        (b'"\xff"', 400, "send JSON in UTF-8"),
    ],
)
async def test_a_body_that_is_no_json_is_told_where_and_what_to_send(
    body: bytes, status: int, says: str
) -> None:
    async with client() as http:
        answer = await http.post("/api/jobs", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == status
    assert says in answer.json()["detail"]
