"""Records what one version of Tunedeck keeps, for later versions to be started on.

`python -m tests.upgrade.record FOLDER`, beside a stack of that version with the model `local/tiny`, its
addresses in TUNEDECK_API_URL, TUNEDECK_MONGO_URL and TUNEDECK_NATS_URL. FOLDER gets a backup, the streams and
consumers as NATS describes them, and what the API said of the jobs.
"""

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import nats

from tests.e2e.api import Api, ended, rows_csv
from tunedeck_chassis import mongo
from tunedeck_chassis.settings import ServiceSettings
from tunedeck_cli.dump import dump

STEPS = 12
ENDLESS = 100_000
TRAINED = "Trained to its end"
RUNNING = "Running when it was recorded"
WAITING = "Waiting for a model"
FAILED = "Without one answer that is not cut away"
READ = (
    "/api/jobs/{uid}",
    "/api/training/status/{uid}",
    "/api/training/losses?job_id={uid}",
    "/api/training/summary?job_id={uid}",
)


def run_jobs(api: Api) -> dict[str, str]:
    """A job that has completed, one that failed, one that trains, one that cannot start: uids by name."""
    upload = api.preview(rows_csv(60), filename="sums.csv").json()["upload_id"]
    uids = {
        WAITING: create(api, WAITING, upload, model="local/later", max_steps=STEPS),
        TRAINED: create(api, TRAINED, upload, max_steps=STEPS, batch_size=4, eval_steps=4),
    }
    uids[FAILED] = create(api, FAILED, upload, max_steps=STEPS, max_length=16)
    for name, status in ((TRAINED, "completed"), (FAILED, "failed")):
        job = api.wait(uids[name], ended, 120)
        assert job["status"] == status, job
    uids[RUNNING] = create(api, RUNNING, upload, max_steps=ENDLESS)
    api.wait(uids[RUNNING], lambda job: bool(job.get("live_metrics")), 60)
    return uids


def create(api: Api, name: str, dataset: str, model: str = "local/tiny", **settings: Any) -> str:
    """A job over plain HTTP; its uid."""
    configuration = {
        "model": {"uid": model, "name": model},
        "dataset": {"uid": dataset, "name": "sums.csv"},
        "hyperparameters": settings,
    }
    job = {"name": name, "tags": ["former"], "configuration": configuration}
    answer = api.main.post("/api/jobs", json=job)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["jobUid"])


def answers(api: Api, uids: dict[str, str]) -> dict[str, Any]:
    """What the API says of each job, by path."""
    paths = [path.format(uid=uid) for uid in uids.values() for path in READ]
    asked = {path: api.main.get(path) for path in paths}
    return {path: answer.json() for path, answer in asked.items() if answer.status_code == 200}


async def provisioned(nats_url: str) -> dict[str, Any]:
    """The configuration of every stream, and of its consumers."""
    client = await nats.connect(nats_url, allow_reconnect=False)
    try:
        streams = await _told(client, "STREAM.LIST", "streams")
        return {
            one["config"]["name"]: {
                "stream": one["config"],
                "consumers": [
                    found["config"]
                    for found in await _told(client, f"CONSUMER.LIST.{one['config']['name']}", "consumers")
                ],
            }
            for one in streams
        }
    finally:
        await client.close()


async def _told(client: nats.NATS, what: str, key: str) -> list[dict[str, Any]]:
    reply = await client.request(f"$JS.API.{what}", b"{}", timeout=5)
    return list(json.loads(reply.data)[key] or [])


async def back_up(folder: Path) -> None:
    """All databases, as `tunedeck backup` has them."""
    async with mongo.connect(ServiceSettings()) as client:
        await dump(client, folder, say=print)


def main() -> None:
    """Run the jobs, and write what is there while the last one trains."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True)
    url = os.environ["TUNEDECK_API_URL"]
    api = Api(url, url)
    uids = run_jobs(api)
    asyncio.run(back_up(folder / "backup"))
    _write(folder / "answers.json", {"uids": uids, "answers": answers(api, uids)})
    _write(folder / "nats.json", asyncio.run(provisioned(os.environ["TUNEDECK_NATS_URL"])))
    api.close()


def _write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
