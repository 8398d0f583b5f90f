"""The speaking process as its parent sees it: started when it is needed, and kept until it is ended."""

import asyncio
import contextlib
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections import deque
from collections.abc import Awaitable, Callable

import structlog

from tunedeck_contracts.errors import Unavailable, from_reply
from tunedeck_contracts.generation import GeneratedToken, GenerationEnd
from tunedeck_contracts.message import Message
from tunedeck_trainer.device_turn import DeviceTurn
from tunedeck_trainer.memory import MemoryWatch
from tunedeck_trainer.process import die_with, environment, started
from tunedeck_trainer.speech_pipe import Began, Ended, FallSilent, NoRoom, Refused, Said, Speak, from_speaker

log = structlog.get_logger()

OnToken = Callable[[GeneratedToken], Awaitable[None]]

OVERTIME_SECONDS = 30.0
"""A process that has not ended an answer so long after its time is killed."""

_OOM_SCORE = 1000
"""When memory is short it goes before a training."""

_LINE_BYTES = 2**20
_LAST_WORDS = 10


class NoMemory(Exception):
    """Less is free than the model takes."""

    def __init__(self, found: NoRoom) -> None:
        gib = 2**30
        super().__init__(
            f"The model takes about {found.needed_bytes / gib:.1f} GiB of memory, and "
            f"{found.free_bytes / gib:.1f} GiB are free."
        )


class DeviceTaken(Exception):
    """A training run has the device."""


class Speaker:
    """At most one process, which answers one question at a time; on a GPU none beside a training run."""

    def __init__(self, device: str, turn: DeviceTurn, load_seconds: float) -> None:
        self.is_on_gpu = device.startswith("cuda")
        self._device = device
        self._turn = turn
        self._load_seconds = load_seconds
        self._process: Process | None = None
        self._changing = asyncio.Lock()
        self._watch: MemoryWatch | None = None
        self._last_words: deque[str] = deque(maxlen=_LAST_WORDS)
        self._errors: asyncio.Task[None] | None = None

    @property
    def is_barred(self) -> bool:
        """Whether it has to wait for the end of a training run."""
        return self.is_on_gpu and self._turn.is_training

    async def speak(self, asked: Speak, on_token: OnToken) -> GenerationEnd:
        """Have a question answered. Whoever cancels this has the process fall silent; it keeps its model.

        Raises:
            TunedeckError: why there is no answer, or no more of it.
            NoMemory, DeviceTaken: not now.
        """
        process = await self._running()
        try:
            return await self._heard(process, asked, on_token)
        except asyncio.CancelledError:
            await self._send(process, FallSilent(stream_id=asked.stream_id))
            raise
        except TimeoutError:
            await self.end()
            raise Unavailable(
                "The model gave no answer in its time, and its process was ended; ask for less, or again."
            ) from None

    def look(self) -> None:
        """Note how much memory the process has now."""
        if self._watch is not None:
            self._watch.look()

    async def end(self) -> None:
        """End the process, and with it what it says."""
        async with self._changing:
            process, self._process = self._process, None
            if process is None:
                return
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()

    async def _running(self) -> Process:
        async with self._changing:
            if self.is_barred:
                raise DeviceTaken
            if self._process is not None and self._process.returncode is None:
                return self._process
            process = await started(
                asyncio.create_subprocess_exec(
                    *(sys.executable, "-m", "tunedeck_trainer.speaking", self._device),
                    stdin=PIPE,
                    stdout=PIPE,
                    stderr=PIPE,
                    limit=_LINE_BYTES,
                    start_new_session=True,
                    env=environment(self._device),
                    preexec_fn=die_with(os.getpid(), _OOM_SCORE),
                )
            )
            self._process = process
            self._watch = MemoryWatch(process.pid)
            self._last_words.clear()
            self._errors = asyncio.create_task(self._hear_errors(process))
            return process

    async def _heard(self, process: Process, asked: Speak, on_token: OnToken) -> GenerationEnd:
        assert process.stdout is not None
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(self._load_seconds) as limit:
            await self._send(process, asked)
            while line := await process.stdout.readline():
                told = from_speaker(line)
                if told.stream_id != asked.stream_id:
                    # Of an answer to which nobody listened to the end.
                    continue
                match told:
                    case Began():
                        limit.reschedule(loop.time() + asked.asked.max_seconds + OVERTIME_SECONDS)
                    case Said(token=token):
                        await on_token(token)
                    case Ended(end=end):
                        return end
                    case NoRoom():
                        raise NoMemory(told)
                    case Refused(error=error):
                        raise from_reply(error)
        raise await self._dead(process)

    async def _dead(self, process: Process) -> Exception:
        """Why the process has ended without a word."""
        status = await process.wait()
        if self.is_barred:
            return DeviceTaken()
        log.warning("speaking_process_died", status=status, lines=list(self._last_words))
        if self._watch is not None and self._watch.explains(status):
            return Unavailable(
                "The system ended the model's process: there was no memory left. Ask again when nothing "
                "trains."
            )
        return Unavailable(f"The model's process ended with status {status}; ask again.")

    async def _send(self, process: Process, message: Message) -> None:
        assert process.stdin is not None
        with contextlib.suppress(OSError):
            process.stdin.write(message.to_json() + b"\n")
            await process.stdin.drain()

    async def _hear_errors(self, process: Process) -> None:
        assert process.stderr is not None
        async for line in process.stderr:
            text = line.decode("utf-8", "replace").rstrip()
            self._last_words.append(text)
            log.info("speaking_process_said", line=text)
