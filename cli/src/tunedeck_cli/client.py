"""A client of Tunedeck's HTTP and WebSocket interface."""

import hashlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

import httpx
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from tunedeck_cli.errors import CommandFailed

Json = dict[str, Any]

PAST = ("completed", "failed", "cancelled")
_QUIET_SECONDS = 30.0
_REFUSED = {1008, 4401, 4403, 4404, 4429}
"""Close codes that say that another try now changes nothing: the key ended, is none, may not or has no more
streams or requests left, and the job is unknown."""


class Client:
    """Calls the main API at `api_url` and the training monitor at `monitor_url`, with an API key if given.

    Every method raises CommandFailed with the server's own sentence when it refuses.
    """

    def __init__(self, api_url: str, monitor_url: str, *, key: str | None = None) -> None:
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        try:
            self._http = httpx.Client(base_url=api_url.rstrip("/"), headers=self._headers, timeout=90)
        except (httpx.InvalidURL, UnicodeEncodeError) as error:
            raise CommandFailed(f"{api_url!r} or the API key cannot be used: {error}") from error
        self._stream_url = monitor_url.rstrip("/").replace("http", "ws", 1) + "/ws/training"

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

    def jobs(self, **filters: Any) -> Json:
        """A page of the jobs, as GET /api/jobs takes its filters."""
        return self._json("GET", "/api/jobs", params=filters)

    def job(self, uid: str) -> Json:
        """A job as it is now."""
        return self._json("GET", _path(uid))

    def logs(self, uid: str) -> Json:
        """The newest lines that the job's training process wrote."""
        return self._json("GET", f"{_path(uid)}/logs")

    def cancel(self, uid: str) -> Json:
        """Ask for a job's end."""
        return self._json("POST", f"{_path(uid)}/cancel")

    def delete(self, uid: str) -> Json:
        """Remove a job that has ended, with all that belongs to it."""
        return self._json("DELETE", _path(uid))

    def artifact(self, uid: str, path: str) -> bytes:
        """One file of the tuned model, which is small."""
        try:
            response = self._http.get(f"{_path(uid)}/artifacts/{quote(path)}")
        except httpx.HTTPError as error:
            raise CommandFailed(f"{path} of job {uid} could not be downloaded: {error!r}") from error
        _raise_for(response)
        return response.content

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
            url = f"{self._stream_url}/{quote(uid, safe='')}?v=1&after={after}"
            with connect(url, open_timeout=10, additional_headers=self._headers) as stream:
                while time.monotonic() < deadline:
                    yield _received(stream)
        except ConnectionClosed as closed:
            if closed.rcvd is not None and closed.rcvd.code in _REFUSED:
                raise CommandFailed(
                    f"The live stream of job {uid} is refused: {closed.rcvd.reason}"
                ) from closed
        except InvalidStatus as refused:
            if 400 <= refused.response.status_code < 500:
                raise CommandFailed(
                    f"The live stream of job {uid} is refused ({refused.response.status_code}): "
                    f"{_detail(refused.response.body or b'') or 'see TUNEDECK_ALLOWED_HOSTS of its gateway'}"
                ) from refused
        except (OSError, InvalidHandshake):
            return

    def _download(self, uid: str, artifact: Json, folder: Path) -> Path:
        target = (folder / str(artifact["path"])).resolve()
        if not target.is_relative_to(folder.resolve()):
            raise CommandFailed(f"The artifact {artifact['path']!r} would leave {folder}.")
        digest = hashlib.sha256()
        source = f"{_path(uid)}/artifacts/{quote(artifact['path'])}"
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with self._http.stream("GET", source) as response:
                _raise_for(response)
                with target.open("wb") as file:
                    for chunk in response.iter_bytes():
                        digest.update(chunk)
                        file.write(chunk)
        except httpx.HTTPError as error:
            raise CommandFailed(f"GET {source} broke off: {error!r}. Try it again.") from error
        except OSError as error:
            raise CommandFailed(f"{target} cannot be written: {error}") from error
        if digest.hexdigest() != artifact["sha256"]:
            raise CommandFailed(f"{artifact['path']} was damaged on the way: its sha256 is not the job's.")
        return target

    def _json(self, method: str, path: str, **arguments: Any) -> Json:
        try:
            response = self._http.request(method, path, **arguments)
        except (httpx.ConnectError, httpx.UnsupportedProtocol) as error:
            raise CommandFailed(
                f"No Tunedeck answers at {self._http.base_url} ({error}): start it with `tunedeck up`, "
                "or set TUNEDECK_API_URL."
            ) from error
        except httpx.HTTPError as error:
            raise CommandFailed(f"{method} {path}: {error!r}") from error
        _raise_for(response)
        try:
            decoded: Json = response.json()
        except ValueError as error:
            raise CommandFailed(
                f"{self._http.base_url} does not answer as Tunedeck does ({path} is no JSON): "
                "set TUNEDECK_API_URL to its main API."
            ) from error
        return decoded


def _path(uid: str) -> str:
    return f"/api/jobs/{quote(uid, safe='')}"


def _received(stream: ClientConnection) -> Json:
    frame: Json = json.loads(stream.recv(timeout=_QUIET_SECONDS))
    return frame


def _raise_for(response: httpx.Response) -> None:
    if response.is_success:
        return
    detail = _detail(response.read())
    if response.status_code == httpx.codes.UNAUTHORIZED:
        detail = f"{detail} Set TUNEDECK_API_KEY to a key of `tunedeck keys create`."
    raise CommandFailed(
        f"{response.request.method} {response.request.url.path} ({response.status_code}): {detail}"
    )


def _detail(body: bytes | bytearray) -> str:
    """The server's own sentence in the body of a refusal."""
    try:
        return str(json.loads(body)["detail"])
    except (ValueError, KeyError, TypeError):
        return body.decode(errors="replace")[:500]
