"""Follows every job on the bus: what becomes of it, and each loss. Needs nats-py[nkeys] and nothing else.

NATS_URL is where the bus is; NATS_NKEY is the file of the user's seed, where the bus asks who comes.
"""

import asyncio
import json
import os

import nats
from nats.aio.msg import Msg

newest: dict[str, int] = {}


async def on_job(message: Msg) -> None:
    job = json.loads(message.data)
    if job["rev"] > newest.get(job["uid"], 0):  # an event may come twice
        newest[job["uid"]] = job["rev"]
        print(job["at"], job["uid"], job["type"], flush=True)


async def on_loss(message: Msg) -> None:
    told = json.loads(message.data)
    point = told["point"]
    print(
        point["timestamp"],
        told["job_id"],
        f"{point['iteration']}/{told['total']}",
        point["train_loss"],
        flush=True,
    )


async def main() -> None:
    url, seed = os.environ.get("NATS_URL", "nats://127.0.0.1:4222"), os.environ.get("NATS_NKEY")
    client = await nats.connect(url, nkeys_seed=seed, inbox_prefix="_INBOX_observer")
    await client.subscribe("job.event.*", cb=on_job)
    await client.subscribe("training.loss.*", cb=on_loss)
    await client.flush()
    print("Listening to", url, flush=True)
    await asyncio.Event().wait()


asyncio.run(main())
