"""The catalog for connected tests, with something in the place of the jobs service."""

import json
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nats.aio.msg import Msg

from tests.support.servers import provision
from tunedeck_catalog.app import Catalog
from tunedeck_catalog.settings import CatalogSettings
from tunedeck_chassis.blobs import new_blob_id
from tunedeck_chassis.bus import Bus
from tunedeck_chassis.service import started
from tunedeck_contracts import rpc
from tunedeck_contracts.datasets import CheckUpload, CreateDataset, CsvPreview, Dataset, RefusedUpload
from tunedeck_contracts.ids import new_upload_uid
from tunedeck_contracts.job_lists import FindJobsUsing, JobsUsing
from tunedeck_contracts.message import Message
from tunedeck_contracts.rpc import Rpc


def check_of(name: str = "my data.csv", blob_id: str | None = None, **given: Any) -> CheckUpload:
    """The check that the gateway would ask for."""
    return CheckUpload(upload_id=new_upload_uid(), filename=name, blob_id=blob_id or new_blob_id(), **given)


def unique_csv(rows: int = 3) -> bytes:
    """A file that was never seen before."""
    mark = uuid.uuid4().hex
    return b"input,output\n" + b"".join(f"{mark} {n},answer {n}\n".encode() for n in range(rows))


@dataclass(frozen=True)
class RunningCatalog:
    """The service at work, and a client of it.

    `jobs_using` is what the jobs service would answer, `asked_of_jobs` what it was asked.
    """

    catalog: Catalog
    bus: Bus
    jobs_using: list[str]
    asked_of_jobs: list[FindJobsUsing]

    async def blob(self, data: bytes, name: str = "my data.csv", **given: Any) -> CheckUpload:
        """Store a file, as the gateway would."""

        async def once() -> AsyncIterator[bytes]:
            yield data

        blob = await self.catalog.blobs.put(once(), filename=name)
        return check_of(name, blob.id, **given)

    async def preview(self, data: bytes, name: str = "my data.csv", **given: Any) -> CsvPreview:
        """Store a file and have it checked."""
        return await self.bus.request(rpc.UPLOAD_CHECK, await self.blob(data, name, **given))

    async def saved(self, data: bytes, name: str = "my data.csv", **given: Any) -> Dataset:
        """A dataset of this file."""
        upload_id = (await self.preview(data, name, **given)).upload_id
        return await self.bus.request(rpc.DATASET_CREATE, CreateDataset(upload_id=upload_id, name="My Data"))

    async def refused(self, data: bytes, name: str = "my data.csv", **given: Any) -> RefusedUpload:
        """The refusal of a file."""
        message = await self.blob(data, name, **given)
        reply = await self.bus.forward(rpc.UPLOAD_CHECK, message.to_json())
        assert reply.status == 400, reply.body
        return RefusedUpload.model_validate_json(reply.body)

    async def listed(self, request: Rpc[Any, Any], message: Message) -> list[dict[str, Any]]:
        """An answer that is a bare list, as the gateway passes it on."""
        reply = await self.bus.forward(request, message.to_json(), timeout=30)
        assert reply.status == 200
        listed: list[dict[str, Any]] = json.loads(reply.body)
        return listed

    async def content(self, blob_id: str) -> bytes:
        """A blob's bytes."""
        return b"".join([piece async for piece in self.catalog.blobs.read(blob_id)])


@asynccontextmanager
async def catalog_service(nats_url: str, mongo_url: str, models_dir: Path) -> AsyncIterator[RunningCatalog]:
    """The catalog with a database of its own."""
    settings = CatalogSettings(
        nats_url=nats_url,
        mongo_url=mongo_url,
        catalog_database=f"catalog_{uuid.uuid4().hex[:8]}",
        models_dir=models_dir,
    )
    await provision(nats_url)
    catalog = Catalog(settings)
    jobs_using: list[str] = []
    asked_of_jobs: list[FindJobsUsing] = []

    async def answer(message: Msg) -> None:
        asked_of_jobs.append(FindJobsUsing.model_validate_json(message.data))
        await message.respond(JobsUsing(jobs=jobs_using).to_json())

    async with started(catalog.broker, catalog.prepare):
        bus = Bus(catalog.broker)
        await bus.subscribe(rpc.JOBS_USING_DATASET.subject, answer)
        yield RunningCatalog(catalog, bus, jobs_using, asked_of_jobs)
    await catalog.client.drop_database(settings.catalog_database)
    await catalog.close()
