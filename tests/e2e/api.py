"""A thin client for the end-to-end tests: what a program that knows api.md alone would send."""

import asyncio
import contextlib
import json
import time
from collections.abc import Callable
from typing import Any

import httpx
import websockets


class Api:
    """The running stack over HTTP and WebSocket. Waiting always has a deadline."""

    def __init__(self, api_url: str, monitor_url: str) -> None:
        self.main = httpx.Client(base_url=api_url, timeout=70)
        self.monitor = httpx.Client(base_url=monitor_url, timeout=30)
        self._ws_url = monitor_url.replace("http://", "ws://")

    def close(self) -> None:
        self.main.close()
        self.monitor.close()

    def preview(self, content: bytes, filename: str = "rows.csv", **form: str) -> httpx.Response:
        return self.main.post("/api/preview-csv", files={"file": (filename, content)}, data=form)

    def create_job(self, dataset: str, model: str = "local/tiny", **settings: Any) -> dict[str, Any]:
        answer = self.main.post(
            "/api/jobs",
            json={
                "name": "A job",
                "configuration": {
                    "model": {"uid": model, "name": "Model"},
                    "dataset": {"uid": dataset, "name": "Rows"},
                    "hyperparameters": settings,
                },
            },
        )
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    def job(self, uid: str) -> dict[str, Any]:
        answer = self.main.get(f"/api/jobs/{uid}")
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def wait(self, uid: str, reached: Callable[[dict[str, Any]], bool], seconds: float) -> dict[str, Any]:
        """The job once it is as wanted; fails with what it is when the deadline passes."""
        deadline = time.monotonic() + seconds
        while True:
            job = self.job(uid)
            if reached(job):
                return job
            assert time.monotonic() < deadline, f"after {seconds} s the job is {json.dumps(job, indent=1)}"
            time.sleep(0.1)

    def until(self, true: Callable[[], bool], seconds: float) -> None:
        """Wait until `true()`."""
        deadline = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < deadline, f"it was not so within {seconds} s"
            time.sleep(0.1)

    def first_frame(self, uid: str) -> dict[str, Any]:
        """The first frame that a plain client gets."""
        return asyncio.run(self._first_frame(uid))

    async def _first_frame(self, uid: str) -> dict[str, Any]:
        async with asyncio.timeout(30), websockets.connect(f"{self._ws_url}/ws/training/{uid}") as socket:
            return dict(json.loads(await socket.recv()))

    def stream(self, uid: str, query: str = "", seconds: float = 120) -> tuple[list[dict[str, Any]], int]:
        """Every frame until the server closes, and the close code."""
        return asyncio.run(self._stream(uid, query, seconds))

    async def _stream(self, uid: str, query: str, seconds: float) -> tuple[list[dict[str, Any]], int]:
        frames: list[dict[str, Any]] = []
        async with asyncio.timeout(seconds):
            async with websockets.connect(f"{self._ws_url}/ws/training/{uid}{query}") as socket:
                with contextlib.suppress(websockets.ConnectionClosedError):
                    async for text in socket:
                        frames.append(json.loads(text))
                return frames, socket.close_code or 0


def rows_csv(count: int) -> bytes:
    """A small, valid file."""
    lines = ["input,output"]
    lines += [f"What is {n} plus {n}?,It is {2 * n}; thank you for asking." for n in range(count)]
    return "\n".join(lines).encode()


def ended(job: dict[str, Any]) -> bool:
    return job["status"] in ("completed", "failed", "cancelled")
