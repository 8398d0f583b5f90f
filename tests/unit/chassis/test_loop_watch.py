"""The watch over the event loop."""

import asyncio
import threading
import time

from tunedeck_chassis.loop_watch import watched_event_loop


async def test_a_loop_that_stands_still_ends_the_process() -> None:
    ended = threading.Event()
    async with watched_event_loop(0.2, 0.02, ended.set):
        deadline = time.monotonic() + 5
        while not ended.is_set() and time.monotonic() < deadline:
            time.sleep(0.01)  # noqa: ASYNC251 - blocking the loop is what is tested
    assert ended.is_set()


async def test_a_loop_that_turns_and_one_that_has_ended_do_not() -> None:
    ended = threading.Event()
    async with watched_event_loop(3, 0.05, ended.set):
        await asyncio.sleep(4)
    assert not ended.wait(0.5)
