"""Telemetry for the tests of this folder."""

from collections.abc import AsyncIterator

import pytest

from tests.support.telemetry_service import Telemetry, telemetry_service
from tunedeck_chassis import batches
from tunedeck_telemetry import projection


@pytest.fixture
def long_fetches(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fetch that waits for a whole batch outlasts a test's patience; of a service that starts after it."""
    monkeypatch.setattr(batches, "FETCH_SECONDS", 120.0)


@pytest.fixture
async def telemetry(nats_url: str, mongo_url: str) -> AsyncIterator[Telemetry]:
    """With a database of its own."""
    async with telemetry_service(nats_url, mongo_url) as found:
        yield found


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The jobs service may take its time to answer."""
    monkeypatch.setattr(projection, "ASKING_SECONDS", 20.0)
