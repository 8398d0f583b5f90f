"""Points of runs that have ended which telemetry has not stored yet: they are delivered beside the next runs.

The stream has most of them; but that it took them is not yet that they are stored.
"""

import asyncio
import contextlib
import shutil
import sqlite3
import time
from pathlib import Path

import structlog

from tunedeck_chassis.bus import Bus
from tunedeck_trainer.delivery import Delivery
from tunedeck_trainer.spool import Spool

log = structlog.get_logger()

FOLDER = "untold"
LOOK_SECONDS = 5.0
KEPT_SECONDS = 24 * 3600.0
"""As long as the stream keeps a point."""


def keep(spool: Path, work_dir: Path, job_uid: str, fence: int) -> None:
    """Put the closed spool of a run aside, with what SQLite may have left beside it."""
    folder = work_dir / FOLDER
    folder.mkdir(exist_ok=True)
    for file in sorted(spool.parent.glob(f"{spool.name}*"), reverse=True):
        shutil.move(file, folder / f"{job_uid}.{fence}.db{file.name.removeprefix(spool.name)}")
    log.warning("points_kept_for_later", job=job_uid, fence=fence)


class Untold:
    """Goes round the spools that were put aside until each is stored, also over restarts."""

    def __init__(self, bus: Bus, work_dir: Path, source: str, turn_seconds: float) -> None:
        self._bus = bus
        self._folder = work_dir / FOLDER
        self._source = source
        self._turn_seconds = turn_seconds

    async def run(self) -> None:
        """Deliver until cancelled; one that makes no headway holds up the others for a turn."""
        while True:
            for file in sorted(self._folder.glob("*.db")):
                try:
                    if time.time() - file.stat().st_mtime > KEPT_SECONDS or await self._is_delivered(file):
                        file.unlink()
                except (OSError, sqlite3.OperationalError) as error:
                    # As on a full disk: it may be read later.
                    log.warning("untold_points_wait", file=file.name, error=str(error))
                except sqlite3.DatabaseError as error:
                    # A machine that lost its power may have torn it.
                    log.error("untold_points_broken", file=file.name, error=str(error))
                    with contextlib.suppress(OSError):
                        file.rename(file.with_suffix(".broken"))
            await asyncio.sleep(LOOK_SECONDS)

    async def _is_delivered(self, file: Path) -> bool:
        job_uid, fence = file.stem.rsplit(".", 1)
        spool = Spool(file, 0)
        delivery = Delivery(spool, self._bus, job_uid=job_uid, fence=int(fence), source=self._source)
        working = asyncio.create_task(delivery.run())
        drained = asyncio.create_task(delivery.drained(self._turn_seconds))
        try:
            await asyncio.wait([working, drained], return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                # It ends only by what is wrong with the file.
                working.result()
            return await drained
        finally:
            for task in (working, drained):
                task.cancel()
            await asyncio.gather(working, drained, return_exceptions=True)
            spool.close()
