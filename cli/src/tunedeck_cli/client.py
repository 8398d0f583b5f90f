"""A client of Tunedeck's HTTP and WebSocket interface."""

import hashlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import httpx
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.sync.client import ClientConnection, connect

from tunedeck_cli.errors import CommandFailed

Json = dict[str, Any]

PAST = ("completed", "failed", "cancelled")
_QUIET_SECONDS = 30.0
_UNKNOWN_JOB = 4404


class Client:
    """Calls the main API at `api_url` and the training monitor at `monitor_url`.

    Every method raises CommandFailed with the server's own sentence when it refuses.
    """

    def __init__(self, api_url: str, monitor_url: str) -> None:
        self._http = httpx.Client(base_url=api_url, timeout=90)
        self._stream_url = monitor_url.replace("http", "ws", 1) + "/ws/training"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def preview_csv(self, path: Path) -> Json:
        """Upload a CSV file; the answer has its `upload_id` and statistics."""
        with path.open("rb") as file:
            return self._json("POST", "/api/preview-csv", files={"file": (path.name, file, "text/csv")})

    def create_dataset(self, upload_id: str, name: str) -> Json:
        """Save an upload as a dataset."""
        return self._json("POST", "/api/datasets", json={"upload_id": upload_id, "name": name})

    def create_job(self, job: Json) -> Json:
        """Create a job, as api.md's POST /api/jobs takes it; returns the job."""
        created: Json = self._json("POST", "/api/jobs", json=job)["job"]
        return created

    def job(self, uid: str) -> Json:
        """A job as it is now."""
        return self._json("GET", f"/api/jobs/{uid}")

    def logs(self, uid: str) -> list[str]:
        """The newest lines that the job's training process wrote."""
        return [line["text"] for line in self._json("GET", f"/api/jobs/{uid}/logs")["lines"]]

    def cancel(self, uid: str) -> Json:
        """Ask for a job's end."""
        return self._json("POST", f"/api/jobs/{uid}/cancel")

    def wait_until_past(self, uid: str, *, seconds: float) -> Json:
        """The job once it has ended; CommandFailed when it has not within `seconds`."""
        deadline = time.monotonic() + seconds
        while (job := self.job(uid))["status"] not in PAST:
            if time.monotonic() > deadline:
                raise CommandFailed(f"Job {uid} is still {job['status']} after {seconds:.0f} s.")
            time.sleep(0.3)
        return job

    def download_artifacts(self, job: Json, folder: Path) -> list[Path]:
        """Download every file of the tuned model into `folder` and check its sha256."""
        return [self._download(job["uid"], artifact, folder) for artifact in job["artifacts"]]

    def follow(self, uid: str, *, seconds: float) -> Iterator[Json]:
        """The job's frames to its end, each point once, over as many connections as it takes.

        CommandFailed when the job has not ended within `seconds`.
        """
        deadline = time.monotonic() + seconds
        after = 0
        while time.monotonic() < deadline:
            for frame in self._frames(uid, after, deadline):
                if frame.get("type") == "point":
                    if frame["seq"] <= after:
                        continue
                    after = frame["seq"]
                yield frame
                if frame.get("type") == "end":
                    return
            time.sleep(0.5)
        raise CommandFailed(f"Job {uid} has not ended after {seconds:.0f} s.")

    def _frames(self, uid: str, after: int, deadline: float) -> Iterator[Json]:
        """The frames of one connection; ends when it breaks or stays quiet."""
        try:
            with connect(f"{self._stream_url}/{uid}?v=1&after={after}", open_timeout=10) as stream:
                while time.monotonic() < deadline:
                    yield _received(stream)
        except ConnectionClosed as closed:
            if closed.rcvd is not None and closed.rcvd.code == _UNKNOWN_JOB:
                raise CommandFailed(f"The monitor does not know job {uid}.") from closed
        except (OSError, InvalidHandshake):
            return

    def _download(self, uid: str, artifact: Json, folder: Path) -> Path:
        target = (folder / str(artifact["path"])).resolve()
        if not target.is_relative_to(folder.resolve()):
            raise CommandFailed(f"The artifact {artifact['path']!r} would leave {folder}.")
        target.parent.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256()
        with self._http.stream("GET", f"/api/jobs/{uid}/artifacts/{artifact['path']}") as response:
            _raise_for(response)
            with target.open("wb") as file:
                for chunk in response.iter_bytes():
                    digest.update(chunk)
                    file.write(chunk)
        if digest.hexdigest() != artifact["sha256"]:
            raise CommandFailed(f"{artifact['path']} was damaged on the way: its sha256 is not the job's.")
        return target

    def _json(self, method: str, path: str, **arguments: Any) -> Json:
        try:
            response = self._http.request(method, path, **arguments)
        except httpx.HTTPError as error:
            raise CommandFailed(f"{method} {path}: {error!r}") from error
        _raise_for(response)
        decoded: Json = response.json()
        return decoded


def _received(stream: ClientConnection) -> Json:
    frame: Json = json.loads(stream.recv(timeout=_QUIET_SECONDS))
    return frame


def _raise_for(response: httpx.Response) -> None:
    if response.is_success:
        return
    response.read()
    try:
        detail = response.json()["detail"]
    except (ValueError, KeyError, TypeError):
        detail = response.text[:500]
    raise CommandFailed(
        f"{response.request.method} {response.request.url.path} ({response.status_code}): {detail}"
    )
