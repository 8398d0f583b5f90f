"""The tuned models on this host: a deleted job's is removed.

Only the event of a deletion removes one. It may be missed, so at the start and now and then the stream is
asked for each folder's job. That the jobs service does not know a job is no reason: its database may be new.
"""

import asyncio
import shutil
from pathlib import Path

import structlog
from nats.aio.msg import Msg
from pydantic import ValidationError

from tunedeck_chassis.bus import Bus
from tunedeck_contracts.artifacts import MANIFEST
from tunedeck_contracts.errors import TunedeckError
from tunedeck_contracts.events import JobEvent, JobEventType
from tunedeck_contracts.ids import is_safe_id
from tunedeck_contracts.streams import JOBS
from tunedeck_contracts.subjects import JOB_EVENTS, job_event

log = structlog.get_logger()

LOOK_SECONDS = 3600.0


class KeptModels:
    """Only folders with the name of a job and a manifest of ours are touched."""

    def __init__(self, bus: Bus, adapters_dir: Path) -> None:
        self._bus = bus
        self._folder = adapters_dir

    async def listen(self) -> None:
        """Hear of deletions from now on."""
        await self._bus.subscribe(JOB_EVENTS, self._on_job_event)

    async def run(self) -> None:
        """Look now and then until cancelled."""
        while True:
            try:
                await self.look()
            except (TunedeckError, OSError) as error:
                log.warning("tuned_models_not_looked_at", error=repr(error))
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self) -> None:
        """Remove the models of jobs that are gone.

        Raises:
            Unavailable: NATS cannot tell.
        """
        for manifest in sorted(self._folder.glob(f"*/{MANIFEST}")):
            uid = manifest.parent.name
            if is_safe_id(uid) and (body := await self._bus.last(JOBS, job_event(uid))) is not None:
                await self._heed(body)

    async def _on_job_event(self, message: Msg) -> None:
        await self._heed(message.data)

    async def _heed(self, body: bytes) -> None:
        try:
            told = JobEvent.model_validate_json(body)
        except ValidationError:
            # Telemetry parks it.
            return
        if told.type is JobEventType.DELETED and is_safe_id(told.uid):
            await self._remove(told.uid)

    async def _remove(self, uid: str) -> None:
        folder = self._folder / uid
        if (folder / MANIFEST).is_file():
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
            log.info("tuned_model_removed", job=uid, folder=str(folder))
