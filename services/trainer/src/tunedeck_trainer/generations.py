"""Requests for text: their line, one answer at a time, and what is told of each."""

import asyncio
import contextlib
import time
from dataclasses import dataclass, field

import structlog

from tunedeck_contracts import rpc
from tunedeck_contracts.errors import InternalError, TooManyRequests, TunedeckError, Unavailable
from tunedeck_contracts.generation import (
    ALIVE_SECONDS,
    GeneratedToken,
    GenerationEnd,
    GenerationStarted,
    QueuePosition,
    StartGeneration,
)
from tunedeck_contracts.plans import GetPlan, Plan
from tunedeck_trainer.speaker import DeviceTaken, NoMemory, Speaker
from tunedeck_trainer.speech_pipe import Speak
from tunedeck_trainer.surroundings import Surroundings
from tunedeck_trainer.told_stream import ToldStream
from tunedeck_trainer.tuned_models import check_tuned, tuned_folder

log = structlog.get_logger()

MEMORY_LOOK_SECONDS = 5.0
THREADS_BESIDE_TRAINING = 1


@dataclass(eq=False)
class _Request:
    """One request, from when it is taken until its last event."""

    asked: StartGeneration
    plan: Plan
    stream: ToldStream
    since: float = field(default_factory=time.monotonic)
    told: QueuePosition | None = None
    tokens: int = 0

    async def queued(self, position: QueuePosition) -> None:
        """Tell its position, where that is news."""
        if position != self.told:
            self.told = position
            await self.stream.queued(position)

    async def token(self, token: GeneratedToken) -> None:
        """Tell a token."""
        self.tokens += 1
        await self.stream.token(token)


class Generations:
    """Answers in the order in which it was asked.

    On a GPU nothing is answered while a run trains: the run has its memory, and needs it. On a CPU an answer
    is made beside a run, which takes hours, while processors can be shared: by one thread of a process that
    steps back (`speaking.NICENESS`).
    """

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self._settings = around.settings
        self._turn = around.turn
        self._speaker = Speaker(around.device, around.turn, around.settings.generation_wait_seconds)
        self._line: list[_Request] = []
        self._speaking: _Request | None = None
        self._asked = asyncio.Event()
        around.turn.before_training(self._give_way)

    async def take(self, asked: StartGeneration) -> GenerationStarted:
        """Take a request; what follows is told on its stream.

        Raises:
            TooManyRequests: all places are taken.
            Conflict: the job has no tuned model, or what it trains is not known.
            NotFound: there is no such job.
            Unavailable: jobs cannot be asked.
        """
        self._check_places()
        plan = await self._around.bus.request(rpc.PLAN_GET, GetPlan(uid=asked.job_uid))
        if asked.asked.adapter:
            check_tuned(plan)
        source = f"/trainer/{self._around.trainer_id}"
        stream = ToldStream(self._around.bus, asked.stream_id, asked.job_uid, source)
        await stream.open()
        try:
            # Others may have come meanwhile.
            self._check_places()
        except TooManyRequests:
            await stream.close()
            raise
        must_wait = bool(self._line) or self._speaking is not None or self._speaker.is_barred
        self._line.append(_Request(asked, plan, stream))
        position = len(self._line) if must_wait else 0
        self._asked.set()
        await self._tell_positions()
        return GenerationStarted(stream_id=asked.stream_id, position=position)

    async def run(self) -> None:
        """Answer until cancelled; who still waits then is told."""
        signs = asyncio.create_task(self._keep_told())
        try:
            while True:
                await self._somebody()
                request = self._speaking = self._line.pop(0)
                await self._tell_positions()
                await self._serve(request)
                self._speaking = None
        finally:
            signs.cancel()
            await self._speaker.end()
            for request in [*self._line, *([self._speaking] if self._speaking else [])]:
                await request.stream.error(Unavailable("The trainer is stopping; ask again in a moment."))

    async def make_room(self) -> None:
        """Let a model go that only waits here for the next question, and with it its memory."""
        if self._speaking is None:
            await self._speaker.end()

    async def _give_way(self) -> None:
        """A run begins: on a GPU a model that speaks gives its memory back too."""
        if self._speaker.is_on_gpu:
            await self._speaker.end()
        await self.make_room()

    def _check_places(self) -> None:
        taken = len(self._line) + (self._speaking is not None)
        if taken >= self._settings.generation_places:
            raise TooManyRequests(
                f"{taken} requests for text are answered or wait at this trainer already; ask again later."
            )

    async def _somebody(self) -> None:
        """Wait for a request; after a while without one the model is let go."""
        while not self._line:
            self._asked.clear()
            try:
                async with asyncio.timeout(self._settings.generation_idle_seconds):
                    await self._asked.wait()
            except TimeoutError:
                await self._speaker.end()
                await self._asked.wait()

    async def _serve(self, request: _Request) -> None:
        """Answer, for as long as somebody listens."""
        answer = asyncio.create_task(self._answer(request))
        unheard = asyncio.create_task(request.stream.unheard.wait())
        try:
            await asyncio.wait([answer, unheard], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (answer, unheard):
                task.cancel()
            await asyncio.gather(answer, unheard, return_exceptions=True)
        await request.stream.close()
        log.info(
            "generation_over",
            stream=request.stream.stream_id,
            job=request.plan.job_uid,
            tokens=request.tokens,
            unheard=request.stream.unheard.is_set(),
        )

    async def _answer(self, request: _Request) -> None:
        try:
            await request.stream.end(await self._spoken(request))
        except TunedeckError as error:
            await request.stream.error(error)
        except Exception as error:
            log.error("generation_failed", stream=request.stream.stream_id, exc_info=error)
            await request.stream.error(
                InternalError("The answer failed for a reason of the trainer's own; its log has it.")
            )

    async def _spoken(self, request: _Request) -> GenerationEnd:
        plan, tuned = request.plan, None
        if not request.asked.asked.adapter or plan.hyperparameters.method != "full":
            await self._around.weights.check(plan.model)
        if request.asked.asked.adapter:
            tuned = await tuned_folder(plan, self._settings.adapters_dir, self._around.blobs)
        while True:
            threads = THREADS_BESIDE_TRAINING if self._turn.is_training else self._settings.torch_threads
            speak = Speak(
                stream_id=request.asked.stream_id,
                job_uid=plan.job_uid,
                model=plan.model,
                hyperparameters=plan.hyperparameters,
                models_dir=self._settings.models_dir.resolve(),
                tuned=tuned,
                asked=request.asked.asked,
                threads=threads,
            )
            try:
                return await self._speaker.speak(speak, request.token)
            except DeviceTaken:
                if request.tokens:
                    raise Unavailable(
                        "A training run has begun and needs the device, which ended the answer; ask again."
                    ) from None
                await self._wait(request, QueuePosition(position=1, waits_for="training"), None)
            except NoMemory as error:
                if not self._turn.is_training:
                    raise Unavailable(
                        f"{error} Ask when the machine has more free, or a smaller model."
                    ) from None
                await self._wait(request, QueuePosition(position=1, waits_for="memory"), MEMORY_LOOK_SECONDS)

    async def _wait(self, request: _Request, position: QueuePosition, look_seconds: float | None) -> None:
        """Wait until the run is over, or `look_seconds`; Unavailable when it has waited too long."""
        await request.queued(position)
        left = request.since + self._settings.generation_wait_seconds - time.monotonic()
        if left <= 0:
            raise self._waited_too_long()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(left if look_seconds is None else min(left, look_seconds)):
                await self._turn.free()

    def _waited_too_long(self) -> Unavailable:
        seconds = self._settings.generation_wait_seconds
        return Unavailable(f"The request has waited for {seconds:g} s, and its turn has not come; ask later.")

    async def _tell_positions(self) -> None:
        for place, request in enumerate(list(self._line), start=1):
            if self._speaking is not None or place > 1:
                await request.queued(QueuePosition(position=place, waits_for="requests"))

    async def _keep_told(self) -> None:
        """Look after the line now and then; what breaks once is tried again the next time."""
        while True:
            await asyncio.sleep(ALIVE_SECONDS)
            try:
                await self._look_after_line()
            except Exception as error:
                log.error("generation_line_not_told", exc_info=error)

    async def _look_after_line(self) -> None:
        """Show that this trainer lives, and drop from the line who is gone or has waited too long."""
        self._speaker.look()
        for request in [*([self._speaking] if self._speaking else []), *self._line]:
            await request.stream.alive()
        longest = time.monotonic() - self._settings.generation_wait_seconds
        gone = [one for one in self._line if one.stream.unheard.is_set() or one.since < longest]
        for request in gone:
            # Its turn may have come while others were told.
            if request not in self._line:
                continue
            self._line.remove(request)
            if not request.stream.unheard.is_set():
                await request.stream.error(self._waited_too_long())
            await request.stream.close()
        if gone:
            await self._tell_positions()
