"""What several of these tests share."""

import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest
from pymongo import AsyncMongoClient

from tunedeck_chassis.blobs import BlobStore


@pytest.fixture
async def blobs(mongo_url: str) -> AsyncIterator[BlobStore]:
    """A blob store in a database of its own."""
    client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(mongo_url)
    name = f"blobs_{uuid.uuid4().hex[:12]}"
    yield BlobStore(client[name])
    await client.drop_database(name)
    await client.close()
