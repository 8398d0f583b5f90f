"""Debian's chromium, driven by playwright."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright

ARGUMENTS = (
    # No sandbox of its own where the tests run as root; the pages are ours.
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
ON_THIS_MACHINE = ("127.0.0.1", "localhost", "::1", None)


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """One browser for the folder; each test opens pages of its own.

    Not for the session: playwright keeps an event loop running in this thread, and no asyncio test could run.
    """
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    assert path is not None, "chromium is not installed: sudo apt-get install chromium"
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=path, args=list(ARGUMENTS))
        yield opened
        opened.close()


@dataclass
class WatchedPage:
    """A page, with what went wrong on it so far."""

    page: Page
    errors: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("pageerror", lambda error: self.errors.append(f"page: {error}"))
        self.page.on("console", self._on_console)
        self.page.on("request", lambda request: self._on_address(request.url))
        self.page.on("websocket", lambda socket: self._on_address(socket.url))

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.errors.append(f"console: {message.text}")

    def _on_address(self, url: str) -> None:
        if urlsplit(url).hostname not in ON_THIS_MACHINE:
            self.errors.append(f"another machine: {url}")


@pytest.fixture
def watched(browser: Browser) -> Iterator[WatchedPage]:
    """A page whose errors, and requests to other machines, fail the test at its end."""
    opened = WatchedPage(browser.new_page())
    yield opened
    opened.page.close()
    assert opened.errors == []
