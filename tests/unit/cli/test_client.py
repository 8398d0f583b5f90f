"""The client follows a job over broken connections, and believes no file that was damaged."""

import hashlib
import json
import threading
from collections.abc import Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from websockets.http11 import Request, Response
from websockets.sync.server import ServerConnection, serve

from tunedeck_cli.client import Client
from tunedeck_cli.errors import CommandFailed

POINTS = 6
CONTENT = b"weights"


def stream(connection: ServerConnection) -> None:
    """Two points a connection from the cursor on, then it breaks; the end after the last."""
    assert connection.request is not None
    query = parse_qs(urlsplit(connection.request.path).query)
    after = int(query["after"][0])
    if connection.request.path.startswith("/ws/training/too-many"):
        connection.close(4429, "More than 20 open streams; close one.")
        return
    for seq in range(max(1, after), min(after + 2, POINTS) + 1):
        connection.send(json.dumps({"type": "point", "seq": seq, "training": {"step": seq}}))
    if after + 2 < POINTS:
        return
    connection.send(json.dumps({"type": "end", "status": "completed"}))


def doorkeeper(connection: ServerConnection, request: Request) -> Response | None:
    """Refuses the handshake for one job."""
    if request.path.startswith("/ws/training/refused"):
        return connection.respond(HTTPStatus.FORBIDDEN, "")
    return None


class Api(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path.endswith("/torn.bin"):
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(CONTENT)
            return
        if self.path.startswith("/api/jobs/page"):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html>Sign in</html>")
            return
        known = self.path.endswith("/artifacts/adapter/a.bin")
        body = CONTENT if known else json.dumps({"detail": "There is no job 'x'."}).encode()
        self.send_response(200 if known else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def client() -> Iterator[Client]:
    with (
        serve(stream, "127.0.0.1", 0, process_request=doorkeeper) as monitor,
        ThreadingHTTPServer(("127.0.0.1", 0), Api) as api,
    ):
        for server in (monitor, api):
            threading.Thread(target=server.serve_forever, daemon=True).start()
        monitor_port = monitor.socket.getsockname()[1]
        with Client(f"http://127.0.0.1:{api.server_port}", f"http://127.0.0.1:{monitor_port}") as one:
            yield one
        api.shutdown()
        monitor.shutdown()


def test_each_point_comes_once_over_broken_connections(client: Client) -> None:
    frames = list(client.follow("job_1", seconds=20))
    assert [one["seq"] for one in frames if one["type"] == "point"] == list(range(1, POINTS + 1))
    assert frames[-1]["type"] == "end"


def test_a_refusal_is_told_in_the_servers_words(client: Client) -> None:
    with pytest.raises(CommandFailed, match=r"There is no job 'x'\."):
        client.job("x")


@pytest.mark.parametrize(
    ("uid", "said"), [("too-many", "More than 20 open streams; close one."), ("refused", r"refused \(403\)")]
)
def test_a_stream_that_is_refused_is_not_asked_for_again(client: Client, uid: str, said: str) -> None:
    with pytest.raises(CommandFailed, match=said):
        list(client.follow(uid, seconds=20))


def test_an_answer_of_somebody_else_is_no_answer(client: Client) -> None:
    with pytest.raises(CommandFailed, match=r"does not answer as Tunedeck does.*TUNEDECK_API_URL"):
        client.job("page")


def test_a_download_that_breaks_off_or_finds_no_room_is_said(client: Client, tmp_path: Path) -> None:
    torn = {"uid": "job_1", "artifacts": [{"path": "adapter/torn.bin", "size": 1000, "sha256": ""}]}
    with pytest.raises(CommandFailed, match=r"torn\.bin broke off"):
        client.download_artifacts(torn, tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(CommandFailed, match="cannot be written"):
        client.download_artifacts(torn, tmp_path / "file")


def test_artifacts_are_checked(client: Client, tmp_path: Path) -> None:
    artifact = {"path": "adapter/a.bin", "size": 7, "sha256": hashlib.sha256(CONTENT).hexdigest()}
    [path] = client.download_artifacts({"uid": "job_1", "artifacts": [artifact]}, tmp_path)
    assert path.read_bytes() == CONTENT
    with pytest.raises(CommandFailed, match="sha256"):
        client.download_artifacts({"uid": "job_1", "artifacts": [{**artifact, "sha256": "0" * 64}]}, tmp_path)
    with pytest.raises(CommandFailed, match="leave"):
        client.download_artifacts({"uid": "job_1", "artifacts": [{**artifact, "path": "../a"}]}, tmp_path)
