"""Builds the catalog service: the only place that names its adapters."""

import asyncio
import gc

import structlog
from faststream.nats import NatsBroker
from pymongo.errors import PyMongoError

from tunedeck_catalog import handlers
from tunedeck_catalog.dataset_files import DatasetFiles
from tunedeck_catalog.datasets import Datasets
from tunedeck_catalog.folders import ModelFolders
from tunedeck_catalog.hub import Hub
from tunedeck_catalog.models import Models, built_in_models
from tunedeck_catalog.presets import Presets
from tunedeck_catalog.repository.datasets import DatasetRepository
from tunedeck_catalog.repository.models import ModelRepository
from tunedeck_catalog.repository.presets import PresetRepository
from tunedeck_catalog.repository.workflow import WorkflowRepository
from tunedeck_catalog.settings import CatalogSettings
from tunedeck_catalog.token_counts import TokenCounts
from tunedeck_catalog.uploads import Uploads
from tunedeck_catalog.workflow import Workflow
from tunedeck_chassis import mongo
from tunedeck_chassis.blobs import BLOBS_DATABASE, BlobStore
from tunedeck_chassis.broker import create_broker
from tunedeck_chassis.bus import Bus
from tunedeck_chassis.health import health_router
from tunedeck_chassis.presence import Presence
from tunedeck_chassis.service import run

log = structlog.get_logger()

_GC_THRESHOLD = 50_000
PACKAGES = ("faststream", "huggingface_hub", "pandas", "pymongo", "tokenizers")


class Catalog:
    """The service's parts, joined. The blobs are shared by the services of an installation."""

    def __init__(self, settings: CatalogSettings, *, hub: Hub | None = None) -> None:
        self.settings = settings
        self.presence = Presence()
        self.client = mongo.connect(settings, presence=self.presence)
        self.blobs = BlobStore(self.client[BLOBS_DATABASE])
        self.models = ModelRepository(self.client, settings.catalog_database)
        self.datasets = DatasetRepository(self.client, settings.catalog_database)
        self.presets = PresetRepository(self.client, settings.catalog_database)
        self.workflow = WorkflowRepository(self.client, settings.catalog_database)
        self.hub = hub or Hub()
        self.broker = self._create_broker()

    async def prepare(self) -> None:
        """Indexes, and the models of a new installation."""
        await self.blobs.prepare()
        await self.models.prepare(built_in_models())
        await self.datasets.prepare()
        await self.presets.prepare()

    async def sweep(self) -> None:
        """Now and then finish deletions, and remove blobs whose time is over, uploads above all."""
        while True:
            try:
                finished = await self.files.finish()
                swept = await self.blobs.sweep()
                log.info("blobs_swept", expired=swept.expired, orphaned=swept.orphaned, deleted=finished)
            except PyMongoError as error:
                log.warning("sweep_failed", error=repr(error))
            await asyncio.sleep(self.settings.sweep_seconds)

    async def close(self) -> None:
        """Close what was opened, the broker aside."""
        self.hub.close()
        await self.client.close()

    def _create_broker(self) -> NatsBroker:
        broker = create_broker(self.settings, "catalog", self.blobs, self.presence)
        folders = ModelFolders(self.settings.models_dir)
        token_counts = TokenCounts(folders, self.hub)
        uploads = Uploads(self.datasets, self.blobs, token_counts)
        broker.context.set_global("uploads", uploads)
        datasets = Datasets(self.datasets, self.blobs, uploads)
        broker.context.set_global("datasets", datasets)
        self.files = DatasetFiles(datasets, self.datasets, self.blobs, token_counts, Bus(broker))
        broker.context.set_global("dataset_files", self.files)
        models = Models(self.models, self.hub, folders)
        broker.context.set_global("models", models)
        broker.context.set_global("presets", Presets(self.presets))
        broker.context.set_global("workflow", Workflow(self.workflow, self.datasets, models))
        broker.include_router(handlers.router)
        broker.include_router(health_router("catalog", [self._database_problem], PACKAGES))
        return broker

    async def _database_problem(self) -> str | None:
        return await mongo.problem(self.client)


async def serve(settings: CatalogSettings) -> None:
    """Run the service until a signal."""
    # A check makes millions of short-lived lists of text, which never form cycles: at Python's own
    # threshold of 700 the collector takes a third of its time.
    gc.set_threshold(_GC_THRESHOLD)
    catalog = Catalog(settings)
    await run(catalog.broker, prepare=catalog.prepare, loops=[catalog.sweep], close=catalog.close)
