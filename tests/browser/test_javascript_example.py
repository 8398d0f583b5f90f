"""The JavaScript program of docs/api.md runs in a browser, but for host, port and job id.

The page comes from a local development server's address, another origin than the API's: CORS is held too.
"""

import re
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import WatchedPage
from tests.e2e.api import Api, rows_csv
from tests.support.api_document import section
from tunedeck_cli import ports
from tunedeck_gateway.settings import GatewaySettings

LOSS = re.compile(r"\d+\.\d{4}")
PERCENT = re.compile(r"\d+\.\d%")
WIDTH = "parseFloat(document.getElementById('progress').style.width)"
MILLISECONDS = 30_000
PAGE = """<!doctype html><title>Monitor</title><link rel="icon" href="data:,">
<p id="current-loss"></p><p id="gpu-usage"></p><p id="progress" style="width: 0%"></p>
<script>{script}</script>"""

Show = Callable[[Page, str], None]


@pytest.fixture
def training(api: Api) -> Iterator[str]:
    """A job that goes on training while the page is open."""
    upload = api.preview(rows_csv(60)).json()["upload_id"]
    created = api.create_job(upload, max_steps=20_000, batch_size=2, eval_steps=5000, validation_rows=4)
    uid: str = created["jobUid"]
    api.wait(uid, lambda job: job["training"]["currentStep"] > 0, 90)
    yield uid
    api.main.post(f"/api/jobs/{uid}/cancel")


@pytest.fixture
def show(tmp_path: Path) -> Iterator[Show]:
    """Opens a page with the example's three elements and a program, from a server of its own.

    Chromium takes a page that playwright makes up for one of the Internet, which may not reach this machine.
    """

    def opened(page: Page, script: str) -> None:
        (tmp_path / "index.html").write_text(PAGE.format(script=script))
        page.goto(f"http://localhost:{server.server_port}")

    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    with ThreadingHTTPServer((ports.LOOPBACK, development_port()), handler) as server:
        threading.Thread(target=server.serve_forever).start()
        yield opened
        server.shutdown()


def development_port() -> int:
    """A port of the origins that the gateway takes by default, that nobody has now."""
    usual = [urlsplit(origin).port or 80 for origin in GatewaySettings().cors_origins]
    return next(port for port in usual if not ports.accepts(port))


def program(api: Api, job: str) -> str:
    """The example against the running stack."""
    text = section("JavaScript Frontend Example").block("javascript")
    return text.replace("127.0.0.1:8001", api.monitor.base_url.netloc.decode()).replace("job_123", job)


def expect_live(page: Page) -> None:
    """All three elements are filled, and the bar goes on growing."""
    expect(page.locator("#current-loss")).to_have_text(LOSS, timeout=MILLISECONDS)
    expect(page.locator("#gpu-usage")).to_have_text(PERCENT, timeout=MILLISECONDS)
    first = page.evaluate(WIDTH)
    page.wait_for_function(f"{WIDTH} > {first}", timeout=MILLISECONDS)


def test_the_page_shows_loss_gpu_and_progress_live(
    watched: WatchedPage, show: Show, api: Api, training: str
) -> None:
    show(watched.page, program(api, training))
    expect_live(watched.page)


def test_without_the_socket_the_page_polls_the_summary(
    watched: WatchedPage, show: Show, api: Api, training: str
) -> None:
    """The example's second way: fetch, from another origin."""
    nobody = f"ws://127.0.0.1:{ports.free_port()}"
    show(watched.page, re.sub(r"ws://[\d.:]+", nobody, program(api, training)))
    expect_live(watched.page)
    refused = [error for error in watched.errors if nobody in error or "WebSocket error" in error]
    assert len(refused) == 2, watched.errors
    watched.errors = [error for error in watched.errors if error not in refused]
