"""Clients of the whole stack."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.api import Api


@pytest.fixture(scope="session")
def api(stack: Any) -> Iterator[Api]:
    client = Api(stack.api_url, stack.monitor_url)
    yield client
    client.close()


@pytest.fixture(scope="session")
def models_dir(stack: Any) -> Path:
    return Path(stack.stack.home.models)
