"""/docs on both ports: every operation, and nothing from another machine."""

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import WatchedPage
from tests.e2e.api import Api


@pytest.mark.parametrize("port", ["main", "monitor"])
def test_the_documentation_shows_every_operation(watched: WatchedPage, api: Api, port: str) -> None:
    client = api.main if port == "main" else api.monitor
    paths = client.get("/openapi.json").json()["paths"]
    watched.page.goto(str(client.base_url.join("/docs")))
    blocks = watched.page.locator(".opblock")
    expect(blocks).to_have_count(sum(len(methods) for methods in paths.values()), timeout=30_000)
    blocks.first.click()
    expect(watched.page.locator(".opblock.is-open .responses-table").first).to_be_visible(timeout=30_000)
