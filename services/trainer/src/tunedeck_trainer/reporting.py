"""The last word on a run, and the word that it is not this trainer's any more."""

import asyncio

import structlog

from tunedeck_chassis.bus import Bus
from tunedeck_contracts import rpc
from tunedeck_contracts.errors import Conflict, NotFound, TunedeckError
from tunedeck_contracts.runs import Report

log = structlog.get_logger()

RETRY_SECONDS = 1.0


class FencedOut(Exception):
    """The run is someone else's now, or nobody's: nothing of it may be told any more."""


async def report(bus: Bus, message: Report) -> None:
    """Report until it is stored.

    Raises:
        FencedOut: the run is not this trainer's any more.
    """
    while True:
        try:
            await bus.request(rpc.JOB_REPORT, message)
            return
        except (Conflict, NotFound) as error:
            raise FencedOut(error.detail) from error
        except TunedeckError as error:
            log.warning("report_failed", job=message.job_uid, error=error.detail)
            await asyncio.sleep(RETRY_SECONDS)
