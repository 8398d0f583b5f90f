"""The jobs service for the tests of this folder."""

from collections.abc import AsyncIterator

import pytest

from tests.support.answering import answering
from tests.support.jobs_service import Service, jobs_service
from tunedeck_contracts import rpc
from tunedeck_contracts.telemetry import Forgotten


@pytest.fixture
async def service(nats_url: str, mongo_url: str) -> AsyncIterator[Service]:
    """With a database of its own."""
    async with jobs_service(nats_url, mongo_url) as found:
        yield found


@pytest.fixture
async def telemetry_forgets(nats_url: str) -> AsyncIterator[None]:
    """Telemetry is there and removes 12 points of any job."""
    async with answering(nats_url, rpc.JOB_FORGET, Forgotten(points=12)):
        yield
