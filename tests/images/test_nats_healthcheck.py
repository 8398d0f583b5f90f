"""When the healthcheck of the container of nats-server ends the server."""

import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.images.dockerfiles import ROOT

SCRIPT = ROOT / "deploy" / "nats" / "healthcheck.sh"
WELL = (200, b'{"status":"ok"}')
BROKEN = (
    503,
    b'{"status":"unavailable","error":"JetStream stream \'$G > JOBS\' is not current: write error"}',
)
STARTING = (503, b'{"status":"unavailable","error":"JetStream is still recovering meta layer"}')
BUSYBOX = shutil.which("busybox")
pytestmark = pytest.mark.skipif(BUSYBOX is None, reason="no busybox here: apt-get install busybox")


class Server:
    """Says what nats-server's monitoring port would."""

    def __init__(self) -> None:
        self.answer = WELL
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, body = server.answer
                self.send_response(status)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                """Nothing."""

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._http.server_address[1]
        threading.Thread(target=self._http.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()


@pytest.fixture
def server() -> Iterator[Server]:
    listening = Server()
    yield listening
    listening.close()


class Check:
    """The script with a process in the place of the container's first, and a folder in that of /tmp."""

    def __init__(self, folder: Path, port: int) -> None:
        assert BUSYBOX is not None
        self.first = subprocess.Popen(["sleep", "600"])
        (folder / "nc").symlink_to(BUSYBOX)
        self._path = f"{folder}:/usr/bin:/bin"
        self._script = (
            SCRIPT.read_text()
            .replace("127.0.0.1 8222", f"127.0.0.1 {port}")
            .replace("/tmp/broken", str(folder / "broken"))
            .replace("kill -TERM 1", f"kill -TERM {self.first.pid}")
        )

    def __call__(self) -> int:
        ran = subprocess.run(["/bin/sh", "-c", self._script], env={"PATH": self._path}, check=False)
        return ran.returncode

    @property
    def is_ended(self) -> bool:
        try:
            self.first.wait(0.2)
        except subprocess.TimeoutExpired:
            return False
        return True


@pytest.fixture
def check(tmp_path: Path, server: Server) -> Iterator[Check]:
    made = Check(tmp_path, server.port)
    yield made
    made.first.kill()
    made.first.wait()


def test_a_server_that_is_well_passes(check: Check) -> None:
    assert check() == 0


def test_a_broken_stream_ends_the_server_the_third_time_in_a_row(check: Check, server: Server) -> None:
    server.answer = BROKEN
    assert [check(), check()] == [1, 1]
    server.answer = WELL
    assert check() == 0
    server.answer = BROKEN
    assert [check(), check()] == [1, 1]
    assert not check.is_ended
    assert check() == 1
    check.first.wait(20)


def test_a_server_that_is_starting_is_left_alone(check: Check, server: Server) -> None:
    server.answer = STARTING
    assert {check() for _ in range(5)} == {1}
    assert not check.is_ended


def test_a_server_that_does_not_answer_is_left_alone(tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        made = Check(tmp_path, unused.getsockname()[1])
        assert {made() for _ in range(4)} == {1}
        assert not made.is_ended
        made.first.kill()
        made.first.wait()
