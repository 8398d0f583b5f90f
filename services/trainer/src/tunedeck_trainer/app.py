"""Builds the trainer service and runs it."""

from tunedeck_chassis import mongo, service
from tunedeck_chassis.blobs import BLOBS_DATABASE, BlobStore
from tunedeck_chassis.broker import create_broker
from tunedeck_chassis.bus import Bus
from tunedeck_chassis.disk_guard import DiskGuard
from tunedeck_chassis.health import health_router
from tunedeck_chassis.presence import Presence
from tunedeck_trainer import handlers
from tunedeck_trainer.estimates import Estimates
from tunedeck_trainer.generations import Generations
from tunedeck_trainer.hardware import Hardware
from tunedeck_trainer.hub_pushes import HubPushes
from tunedeck_trainer.idle import IdleReporter
from tunedeck_trainer.journal import Journal
from tunedeck_trainer.kept_models import KeptModels
from tunedeck_trainer.pinned_weights import PinnedWeights
from tunedeck_trainer.previews import Previews
from tunedeck_trainer.runner import Runner
from tunedeck_trainer.settings import TrainerSettings
from tunedeck_trainer.side_process import SideProcesses
from tunedeck_trainer.surroundings import Surroundings
from tunedeck_trainer.untold import Untold

PACKAGES = ("torch", "transformers", "peft", "accelerate", "faststream")


async def serve(settings: TrainerSettings) -> None:
    """Run the service until a signal."""
    journal = Journal(settings.work_dir)
    hardware = Hardware(settings.work_dir)
    presence = Presence()
    client = mongo.connect(settings, presence=presence)
    broker = create_broker(settings, "trainer")
    bus = Bus(broker)
    devices = (
        settings.devices
        or [f"cuda:{index}" for index in hardware.usable_gpus(settings.cuda_visible_devices)]
        or ["cpu"]
    )
    trainer_id = settings.trainer_id or journal.trainer_id
    around = Surroundings(
        settings=settings,
        trainer_id=trainer_id,
        device=devices[0],
        devices=tuple(devices),
        bus=bus,
        blobs=BlobStore(client[BLOBS_DATABASE]),
        hardware=hardware,
        weights=PinnedWeights(settings.models_dir),
        disk=DiskGuard(client[BLOBS_DATABASE], settings.least_free_bytes, presence),
    )
    runner = Runner(around, journal, devices)
    idle = IdleReporter(bus, hardware, journal, runner, trainer_id, settings.idle_sample_seconds)

    untold = Untold(bus, settings.work_dir, f"/trainer/{trainer_id}", settings.drain_seconds)
    kept_models = KeptModels(bus, settings.adapters_dir)
    hub_pushes = HubPushes(around)
    generations = Generations(around)
    broker.context.set_global("generations", generations)
    processes = SideProcesses()
    broker.context.set_global("previews", Previews(around, processes))
    broker.context.set_global("estimates", Estimates(around, processes, generations.make_room))

    async def mongo_problem() -> str | None:
        return await mongo.problem(client)

    broker.include_router(handlers.router)
    broker.include_router(health_router("trainer", [mongo_problem], PACKAGES))

    async def prepare() -> None:
        await handlers.listen_for_jobs(bus, runner)
        await kept_models.listen()

    async def close() -> None:
        await client.close()
        journal.close()

    loops = [runner.run, idle.run, untold.run, kept_models.run, hub_pushes.run, generations.run]
    await service.run(broker, prepare=prepare, loops=loops, close=close)
