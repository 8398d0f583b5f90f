"""How much is done: little in `make test`, the whole of it in `make chaos`."""

import os
import random

IS_LONG = os.environ.get("TUNEDECK_LONG") == "1"
SEED = int(os.environ.setdefault("TUNEDECK_CHAOS_SEED", str(random.SystemRandom().randrange(10**6))))
"""Decides who is struck and when; the summary prints it."""

ONE_THREAD = {"TUNEDECK_TORCH_THREADS": "1"}
"""More gain a tiny model nothing, and wait for each other beside whatever else the machine does."""

LEASE_SECONDS = 5.0
"""Ten beats: who is merely held up for a second or two by the machine keeps the job."""
SHORT_TIMES = {
    "TUNEDECK_LEASE_SECONDS": str(LEASE_SECONDS),
    "TUNEDECK_BEAT_SECONDS": "0.5",
    "TUNEDECK_LEASE_SWEEP_SECONDS": "0.5",
    "TUNEDECK_CLAIM_SECONDS": "1",
    # Here trainers die without end, and no job is to blame.
    "TUNEDECK_MAX_ATTEMPTS": "1000",
    **ONE_THREAD,
    "TUNEDECK_LOST_REST_SECONDS": "0",
}
"""Settings of the stack that is struck."""
