"""The jobs service for the tests of this folder."""

from collections.abc import AsyncIterator

import pytest

from tests.support.jobs_service import Service, jobs_service


@pytest.fixture
async def service(nats_url: str, mongo_url: str) -> AsyncIterator[Service]:
    """With a database of its own."""
    async with jobs_service(nats_url, mongo_url) as found:
        yield found
