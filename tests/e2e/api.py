"""A thin client for the end-to-end tests: what a program that knows api.md alone would send."""

import asyncio
import contextlib
import json
import time
from collections.abc import Callable
from typing import Any

import httpx
import websockets

TRY_AGAIN_LATER = 1013
_REPEATED_SECONDS = 10.0
_SAID_WHEN_WELL = ("Training data not available", "The Hugging Face Hub cannot be reached")


class PatientReads(httpx.HTTPTransport):
    """Sends a GET again for a while where a part was away or held up for a moment, and counts those."""

    def __init__(self) -> None:
        # The server closes what was idle for 5 s.
        super().__init__(limits=httpx.Limits(keepalive_expiry=2))
        self.held_up = 0

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        deadline = time.monotonic() + _REPEATED_SECONDS
        is_first = True
        while True:
            answer = super().handle_request(request)
            if request.method != "GET" or answer.status_code != 503 or time.monotonic() > deadline:
                return answer
            answer.read()
            if any(said in answer.text for said in _SAID_WHEN_WELL):
                return answer
            answer.close()
            self.held_up += is_first
            is_first = False
            time.sleep(0.2)


class Api:
    """The running stack over HTTP and WebSocket. Waiting always has a deadline."""

    def __init__(self, api_url: str, monitor_url: str) -> None:
        self._reads = PatientReads()
        self.main = httpx.Client(base_url=api_url, timeout=70, transport=self._reads)
        self.monitor = httpx.Client(base_url=monitor_url, timeout=30, transport=self._reads)
        self._ws_url = monitor_url.replace("http://", "ws://")

    def close(self) -> None:
        self.main.close()
        self.monitor.close()

    @property
    def held_up(self) -> int:
        """How many reads were refused at first."""
        return self._reads.held_up

    def preview(self, content: bytes, filename: str = "rows.csv", **form: str) -> httpx.Response:
        return self.main.post("/api/preview-csv", files={"file": (filename, content)}, data=form)

    def create_job(
        self, dataset: str, model: str = "local/tiny", *, start: bool = True, **settings: Any
    ) -> dict[str, Any]:
        answer = self.main.post(
            "/api/jobs",
            json={
                "name": "A job",
                "start": start,
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
            answer = self.main.get(f"/api/jobs/{uid}")
            assert answer.status_code in (200, 503), answer.text
            job = dict(answer.json())
            if answer.status_code == 200 and reached(job):
                return job
            assert time.monotonic() < deadline, f"after {seconds} s the job is {json.dumps(job, indent=1)}"
            time.sleep(0.1)

    def until_it_trains(self, uid: str) -> None:
        """Wait until the first point is there; the job itself says so with its next beat, seconds later."""
        losses = "/api/training/losses"
        self.until(lambda: self.monitor.get(losses, params={"job_id": uid}).status_code == 200, 240)

    def until(self, true: Callable[[], bool], seconds: float) -> None:
        """Wait until `true()`."""
        deadline = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < deadline, f"it was not so within {seconds} s"
            time.sleep(0.1)

    def health(self, client: httpx.Client) -> httpx.Response:
        """What a port says once all is well; who was held up for a moment counts as away for a while."""
        self.until(lambda: client.get("/api/health").status_code == 200, 30)
        return client.get("/api/health")

    def first_frame(self, uid: str) -> dict[str, Any]:
        """The first frame that a plain client gets."""
        return asyncio.run(self._first_frame(uid))

    async def _first_frame(self, uid: str) -> dict[str, Any]:
        async with asyncio.timeout(30):
            while True:
                async with websockets.connect(f"{self._ws_url}/ws/training/{uid}") as socket:
                    try:
                        return dict(json.loads(await socket.recv()))
                    except websockets.ConnectionClosed:
                        if socket.close_code != TRY_AGAIN_LATER:
                            raise
                await asyncio.sleep(0.2)

    def stream(self, uid: str, query: str = "", seconds: float = 240) -> tuple[list[dict[str, Any]], int]:
        """Every frame until the server closes, and the close code."""
        return asyncio.run(self._stream(uid, query, seconds))

    async def _stream(self, uid: str, query: str, seconds: float) -> tuple[list[dict[str, Any]], int]:
        async with asyncio.timeout(seconds):
            while True:
                frames: list[dict[str, Any]] = []
                async with websockets.connect(f"{self._ws_url}/ws/training/{uid}{query}") as socket:
                    with contextlib.suppress(websockets.ConnectionClosedError):
                        async for text in socket:
                            frames.append(json.loads(text))
                    if frames or socket.close_code != TRY_AGAIN_LATER:
                        return frames, socket.close_code or 0
                await asyncio.sleep(0.2)


def rows_csv(count: int) -> bytes:
    """A small, valid file."""
    lines = ["input,output"]
    lines += [f"What is {n} plus {n}?,It is {2 * n}; thank you for asking." for n in range(count)]
    return "\n".join(lines).encode()


def ended(job: dict[str, Any]) -> bool:
    return job["status"] in ("completed", "failed", "cancelled")
