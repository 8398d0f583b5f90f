"""What the framework itself refuses has the form of every error."""

import httpx
import pytest

from tunedeck_gateway.app import create_app
from tunedeck_gateway.settings import GatewaySettings


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/", "GET"),
        ("/api/jobs", "GET, POST"),
        ("/api/jobs/job_1_a", "DELETE, GET"),
        ("/api/models/owner/name", "DELETE, GET"),
        ("/api/models/search", "GET"),
        ("/api/datasets/rows", "DELETE, GET, PATCH"),
    ],
)
async def test_a_method_that_is_not_taken_is_answered_with_those_that_are(path: str, allowed: str) -> None:
    app = create_app(GatewaySettings(), monitor_port=8001)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as client:
        answer = await client.request("TRACE", path)
    assert (answer.status_code, answer.headers["Allow"]) == (405, allowed)
    assert answer.json() == {
        "detail": f"TRACE is not taken at {path}; /docs lists what is.",
        "status_code": 405,
        "error_type": "MethodNotAllowed",
    }


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
    transport = httpx.ASGITransport(create_app(GatewaySettings(), monitor_port=8001))
    headers = {"Content-Type": "application/json"}
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as client:
        answer = await client.post("/api/jobs", content=body, headers=headers)
    assert answer.status_code == status
    assert says in answer.json()["detail"]
