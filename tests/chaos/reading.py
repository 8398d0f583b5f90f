"""What the stack has, read through the API and from the stream, as the verdicts take it."""

import hashlib
from collections import defaultdict
from contextlib import suppress
from typing import Any

from nats.js.errors import NotFoundError

from tests.chaos.client import PatientClient
from tests.chaos.connecting import connected
from tests.chaos.history import Kind
from tests.chaos.verdicts import Stored
from tunedeck_cli.stack import Stack
from tunedeck_contracts import subjects
from tunedeck_contracts.events import JobEvent
from tunedeck_contracts.streams import JOBS

_EVERYTHING = 5000


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


def broken_artifacts(client: PatientClient, job: dict[str, Any]) -> list[str]:
    """Which files of a completed job are not what the job says."""
    said = [] if job["artifacts"] else [f"{job['uid']} has no artifact"]
    for artifact in job["artifacts"]:
        answer = client.send("GET", f"/api/jobs/{job['uid']}/artifacts/{artifact['path']}")
        if answer.status_code != 200 or hashlib.sha256(answer.content).hexdigest() != artifact["sha256"]:
            said.append(f"{job['uid']}: {artifact['path']} is not what was stored")
    return said
