"""What the stack has, read through the API and from the stream, as the verdicts take it."""

import asyncio
import hashlib
from collections import defaultdict
from contextlib import suppress
from typing import Any

from nats.errors import Error as NatsError
from nats.js.errors import NotFoundError

from tests.chaos.client import PatientClient
from tests.chaos.connecting import connected
from tests.chaos.history import Kind
from tests.chaos.verdicts import Stored
from tests.support.servers import wait_for
from tunedeck_cli.stack import Stack
from tunedeck_contracts import subjects
from tunedeck_contracts.events import JobEvent
from tunedeck_contracts.streams import JOBS

_EVERYTHING = 5000
_TOLD_SECONDS = 60.0


def all_jobs(client: PatientClient) -> dict[str, dict[str, Any]]:
    """Every job by uid."""
    page = client.read("/api/jobs", limit=_EVERYTHING)
    assert page.get("next_cursor") is None, "there are more jobs than one page holds"
    return {job["uid"]: job for job in page["jobs"]}


def stored(client: PatientClient, jobs: dict[str, dict[str, Any]]) -> Stored:
    """Everything that a writer may have written."""
    found: dict[tuple[Kind, str], dict[str, Any]] = {}
    for uid, job in jobs.items():
        found[Kind.JOB, uid] = found[Kind.CANCEL, uid] = job
    for preset in client.read("/api/hyperparameters")["presets"]:
        found[Kind.PRESET, preset["name"]] = preset
    for dataset in client.read("/api/datasets"):
        found[Kind.DATASET, dataset["uid"]] = dataset
    return found


async def streamed_events(stack: Stack) -> dict[str, list[JobEvent]]:
    """The events that the stream JOBS keeps, by job, in the order in which they were published."""
    found: dict[str, list[JobEvent]] = defaultdict(list)
    async with connected(stack, "gateway") as broker:
        jetstream = broker.connection.jetstream()
        state = (await jetstream.stream_info(JOBS.name)).state
        # An empty stream says 0, which is no number of a message.
        for sequence in range(max(1, state.first_seq), state.last_seq + 1):
            with suppress(NotFoundError):
                message = await jetstream.get_msg(JOBS.name, sequence)
                if message.subject != subjects.JOB_START:
                    event = JobEvent.model_validate_json(message.data or b"")
                    found[event.uid].append(event)
    return found


def told(
    stack: Stack, client: PatientClient, *uids: str, seconds: float = _TOLD_SECONDS
) -> dict[str, list[JobEvent]]:
    """The events in the stream, once it has all of these jobs', or of every job's.

    A change is answered when it is stored, and told after that.
    """
    found: dict[str, list[JobEvent]] = {}

    def is_complete() -> bool:
        found.clear()
        jobs = {uid: client.job(uid) for uid in uids} if uids else all_jobs(client)
        with suppress(NatsError, TimeoutError, OSError):
            found.update(asyncio.run(streamed_events(stack)))
        # Some events are there more than once where a test repeats them.
        return all(len({event.rev for event in found.get(uid, [])}) >= jobs[uid]["rev"] for uid in jobs)

    wait_for("a whole stream of events", is_complete, seconds)
    return found


def points(client: PatientClient, uid: str, count: int) -> list[dict[str, Any]]:
    """The job's loss points, once there are so many; what there is, where they do not come."""
    found: list[dict[str, Any]] = []

    def is_complete() -> bool:
        found[:] = client.losses(uid)
        return len(found) >= count

    with suppress(TimeoutError):
        wait_for("all points", is_complete, _TOLD_SECONDS)
    return found


def broken_artifacts(client: PatientClient, job: dict[str, Any]) -> list[str]:
    """Which files of a completed job are not what the job says."""
    said = [] if job["artifacts"] else [f"{job['uid']} has no artifact"]
    for artifact in job["artifacts"]:
        answer = client.send("GET", f"/api/jobs/{job['uid']}/artifacts/{artifact['path']}")
        if answer.status_code != 200 or hashlib.sha256(answer.content).hexdigest() != artifact["sha256"]:
            said.append(f"{job['uid']}: {artifact['path']} is not what was stored")
    return said
