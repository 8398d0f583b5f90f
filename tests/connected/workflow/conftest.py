"""The gateway's API before the catalog, both in this process, over a real NATS and a real MongoDB."""

import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from tests.support.hub_server import HubServer
from tests.support.servers import provision
from tests.support.small_models import model_files
from tunedeck_catalog.app import Catalog
from tunedeck_catalog.hub import Hub
from tunedeck_catalog.settings import CatalogSettings
from tunedeck_chassis.service import started
from tunedeck_gateway.app import create_app
from tunedeck_gateway.settings import GatewaySettings

LOCAL_MODEL = "local/mine"


@pytest.fixture
async def client(
    nats_url: str, mongo_url: str, hub: HubServer, tmp_path: Path
) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a new installation, whose models folder has LOCAL_MODEL."""
    for name, content in model_files(max_position_embeddings=512).items():
        file = tmp_path / LOCAL_MODEL / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    settings = CatalogSettings(
        nats_url=nats_url,
        mongo_url=mongo_url,
        catalog_database=f"catalog_{uuid.uuid4().hex[:8]}",
        models_dir=tmp_path,
    )
    await provision(nats_url)
    catalog = Catalog(settings, hub=Hub(hub.url))
    gateway = create_app(GatewaySettings(nats_url=nats_url, mongo_url=mongo_url), monitor_port=1)
    async with (
        started(catalog.broker, catalog.prepare),
        gateway.main.router.lifespan_context(gateway.main),
        httpx.AsyncClient(
            transport=httpx.ASGITransport(gateway), base_url="http://127.0.0.1:8000", timeout=60
        ) as client,
    ):
        yield client
    await catalog.client.drop_database(settings.catalog_database)
    await catalog.close()


@pytest.fixture
async def dataset_uid(client: httpx.AsyncClient) -> str:
    """The uid of a dataset of three rows that is called "Sums"."""
    rows = "".join(f"What is {n} plus {n}?,{n + n}\n" for n in range(3))
    files = {"file": ("sums.csv", f"input,output\n{rows}".encode(), "text/csv")}
    preview = (await client.post("/api/preview-csv", files=files)).json()
    saved = await client.post("/api/datasets", json={"upload_id": preview["upload_id"], "name": "Sums"})
    assert saved.status_code == 201, saved.text
    uid: str = saved.json()["uid"]
    return uid
