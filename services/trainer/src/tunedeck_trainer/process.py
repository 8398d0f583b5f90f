"""The training process as its parent sees it: how it is started, told, heard and ended."""

import asyncio
import contextlib
import os
import re
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

from tunedeck_chassis import crash_points
from tunedeck_contracts.jobs import Wanted
from tunedeck_trainer import lifeline
from tunedeck_trainer.pipe import SPEC_FILE, Command, FromChild, Spec, decode

OnMessage = Callable[[FromChild], Awaitable[None]]
OnLine = Callable[[str, str], None]

_LINE_BYTES = 2**20
_LONGEST_TEXT = 4000
_DEATH_POLL = 0.1
_LEVEL = re.compile(r"(DEBUG|INFO|WARNING|ERROR|CRITICAL) (.*)", re.DOTALL)
_TRAINING_OOM_SCORE = 800
_OWN_OOM_SCORE = Path("/proc/self/oom_score_adj")


class TrainingProcess:
    """One child. It dies with its parent, and before anything else when memory runs out."""

    def __init__(
        self, process: Process, messages: asyncio.StreamReader, transport: asyncio.BaseTransport
    ) -> None:
        self._process = process
        self._messages = messages
        self._transport = transport
        self._is_over = False

    @classmethod
    async def start(cls, folder: Path, spec: Spec) -> "TrainingProcess":
        """Start the child in an absolute folder; from the main thread, whose death ends it.

        For a run on several devices it is the launcher of one process each.
        """
        (folder / SPEC_FILE).write_bytes(spec.to_json())
        reading, writing = os.pipe()
        try:
            process = await started(
                asyncio.create_subprocess_exec(
                    sys.executable,
                    "-m",
                    *module(spec),
                    str(folder),
                    str(writing),
                    stdin=PIPE,
                    stdout=PIPE,
                    stderr=PIPE,
                    pass_fds=[writing],
                    start_new_session=True,
                    env=environment(*(spec.devices or [spec.device])),
                    preexec_fn=die_with(os.getpid(), _TRAINING_OOM_SCORE),
                )
            )
        except BaseException:
            os.close(reading)
            raise
        finally:
            os.close(writing)
        messages = asyncio.StreamReader(limit=_LINE_BYTES)
        try:
            transport, _ = await asyncio.get_running_loop().connect_read_pipe(
                lambda: asyncio.StreamReaderProtocol(messages), os.fdopen(reading, "rb")
            )
        except BaseException:
            await ended(process)
            raise
        return cls(process, messages, transport)

    async def listen(self, on_message: OnMessage, on_line: OnLine) -> int:
        """Hear the child until it has ended; its exit status, negative for a signal."""
        out, err = self._process.stdout, self._process.stderr
        assert out is not None
        assert err is not None
        death = asyncio.create_task(self._end_with_child())
        try:
            await asyncio.gather(
                self._hear_messages(on_message),
                self._hear_lines(out, "info", on_line),
                self._hear_lines(err, "warning", on_line),
            )
            return await self._process.wait()
        finally:
            death.cancel()
            self.kill()
            self._is_over = self._process.returncode is not None
            self._transport.close()

    async def command(self, wanted: Wanted) -> None:
        """Tell the child what is wanted of it; it heeds that at its next step boundary."""
        stdin = self._process.stdin
        with contextlib.suppress(OSError):
            if stdin is not None:
                stdin.write(Command(wanted=wanted).to_json() + b"\n")
                await stdin.drain()

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._process.pid

    def kill(self) -> None:
        """End the child and all that it started, at once."""
        if self._is_over:
            # Its number may be another's by now.
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    async def killed(self) -> None:
        """End the child and wait until it is gone."""
        self.kill()
        await self._process.wait()
        self._transport.close()

    async def _end_with_child(self) -> None:
        """What a dead child has left running would hold the pipes open, and the news of its death back."""
        while self._process.returncode is None:
            await asyncio.sleep(_DEATH_POLL)
        self.kill()

    async def _hear_messages(self, on_message: OnMessage) -> None:
        while line := await self._messages.readline():
            await on_message(decode(line))

    async def _hear_lines(self, stream: asyncio.StreamReader, level: str, on_line: OnLine) -> None:
        async for text in _texts(stream):
            found = _LEVEL.fullmatch(text)
            on_line(found.group(1).lower() if found else level, found.group(2) if found else text)


async def started(start: Coroutine[Any, Any, Process]) -> Process:
    """The process, whole; whoever cancels this ends it.

    asyncio waits for ever for a process whose start was cancelled half-way.
    """
    starting = asyncio.create_task(start)
    try:
        return await asyncio.shield(starting)
    except asyncio.CancelledError:
        await ended(await starting)
        raise


async def ended(process: Process) -> None:
    """End a process with a session of its own, and all that it started."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        # What it has written is read: asyncio takes a process for gone only when its pipes are.
        await process.communicate()


def module(spec: Spec) -> list[str]:
    """What `python -m` runs for a run, before the folder and the descriptor."""
    if len(spec.devices) > 1:
        return ["tunedeck_trainer.launcher", str(len(spec.devices))]
    return ["tunedeck_trainer.child"]


def environment(*devices: str) -> dict[str, str]:
    """The child's environment: nothing that leads to a service, and the GPUs of its devices or none."""
    kept = {name: value for name, value in os.environ.items() if not _leads_to_a_service(name, value)}
    if crash_points.VARIABLE in os.environ:
        kept[crash_points.VARIABLE] = os.environ[crash_points.VARIABLE]
    # Tensors of a layer are some MiB each: in pages of 4 KiB a step takes up to a twentieth longer on a CPU.
    kept.setdefault("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1")
    return kept | {
        # NVML's own, by which the devices are named; CUDA would begin with the fastest.
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        "CUDA_VISIBLE_DEVICES": ",".join(
            one.removeprefix("cuda:") for one in devices if one.startswith("cuda:")
        ),
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "PYTHONFAULTHANDLER": "1",
        "PYTHONUNBUFFERED": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }


def hub_token() -> str:
    """The token of huggingface_hub's own variable, or an empty text; none that a login has left."""
    return os.environ.get("HF_TOKEN", "").strip()


def is_sendable(token: str) -> bool:
    """Whether a request's header takes it. The complaint about another would show it."""
    return token.isascii() and token.isprintable() and " " not in token


def _leads_to_a_service(name: str, value: str) -> bool:
    return (
        name.startswith("TUNEDECK_")
        or any(word in name.upper() for word in ("NATS", "MONGO", "PASSWORD", "SECRET", "NKEY"))
        or any(scheme in value for scheme in ("nats://", "tls://", "mongodb://", "mongodb+srv://"))
    )


def die_with(parent: int, oom_score: int) -> Callable[[], None]:
    """What a child does before it runs, so that it dies with its parent.

    `oom_score`: which process goes first when memory runs out, the highest, up to 1000.
    """

    def prepare() -> None:
        lifeline.end_with(parent)
        with contextlib.suppress(OSError):
            _OWN_OOM_SCORE.write_text(str(oom_score))

    return prepare


async def _texts(stream: asyncio.StreamReader) -> AsyncIterator[str]:
    """Lines without their ends, empty ones left out, overlong ones cut into several."""
    rest = b""
    while chunk := await stream.read(2**16):
        *lines, rest = re.split(rb"[\r\n]+", rest + chunk)
        if len(rest) > _LONGEST_TEXT:
            lines, rest = [*lines, rest], b""
        for line in lines:
            for text in _cut(line):
                yield text
    for text in _cut(rest):
        yield text


def _cut(line: bytes) -> list[str]:
    text = line.decode("utf-8", "replace").rstrip()
    return [text[start : start + _LONGEST_TEXT] for start in range(0, len(text), _LONGEST_TEXT)]
