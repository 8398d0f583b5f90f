"""Random lives of jobs: a person, two trainers and the clock act at once on a real MongoDB.

After each round the whole history of every job is held against the table. TUNEDECK_LONG=1 walks 10,000
rounds; what fails is printed with its rounds and what repeats them.
"""

import asyncio
import os
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import pairwise
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from tests.chaos.verdicts import broken_chain, sinking_fences
from tests.support.jobs_service import FixedResolver, Service, claim, probed, report
from tunedeck_contracts.checkpoints import RegisterCheckpoint
from tunedeck_contracts.errors import TunedeckError
from tunedeck_contracts.events import JobEvent, JobEventType
from tunedeck_contracts.job_changes import JobChanges, RetryJob, RetryOptions
from tunedeck_contracts.jobs import PAST, Status, Wanted
from tunedeck_contracts.message import utc_now
from tunedeck_contracts.runs import Outcome
from tunedeck_jobs.lifecycle import Change
from tunedeck_jobs.settings import JobsSettings

IS_LONG = os.environ.get("TUNEDECK_LONG") == "1"
WANTED_ROUNDS = 10_000 if IS_LONG else 300

LIVE_JOBS = 3
KNOWN_JOBS = 6
PERSON = [
    *("create", "start", "pause", "pause", "resume", "resume", "cancel", "retry", "retry", "change"),
    *("deadline", "delete", "nothing", "nothing", "nothing"),
]
TRAINER = [
    *("beat", "beat", "checkpoint", "checkpoint", "checkpoint", "fall_back", "adjust", "stall", "stall"),
    *(one.value for one in Outcome),
]
CLOCK = ["lose", "lose", "sweep", "end_overdue", "let_go", "finish_deletions", "nothing", "nothing"]


@dataclass
class Trainer:
    """What one trainer believes: the run that it has, or had and has not noticed that it lost."""

    name: str
    run: tuple[str, int] | None = None
    step: int = 0
    accepted: list[tuple[str, int]] = field(default_factory=list)
    """The (job, fence) of everything that was taken of it in this round."""


class Lives(RuleBasedStateMachine):
    """One life of a few jobs. The test sets what is declared here."""

    service: Service
    runner: asyncio.Runner
    rounds: ClassVar[Counter[str]]

    def __init__(self) -> None:
        super().__init__()
        self.jobs: list[str] = []
        self.trainers = [Trainer("trainer_1"), Trainer("trainer_2")]
        self.fences_before: dict[str, int] = {}
        self.live = 0
        self.checked: dict[str, int] = {}
        self.told: set[tuple[str, int, JobEventType]] = set()

    @rule(
        person=st.sampled_from(PERSON),
        which=st.integers(0, KNOWN_JOBS - 1),
        first=st.sampled_from(TRAINER),
        second=st.sampled_from(TRAINER),
        clock=st.sampled_from(CLOCK),
    )
    def round(self, person: str, which: int, first: str, second: str, clock: str) -> None:
        """All act at once, and MongoDB says in which order."""
        self.runner.run(self._round(person, which, first, second, clock))

    @invariant()
    def every_history_is_legal(self) -> None:
        """Of every job, after every round."""
        self.runner.run(self._check())

    def teardown(self) -> None:
        """The next life begins with nothing."""
        self.rounds.update(kind.value for _, _, kind in self.told)
        self.runner.run(self._forget())

    async def _round(self, person: str, which: int, first: str, second: str, clock: str) -> None:
        self.rounds["all"] += 1
        stored = await self._stored()
        self.fences_before = {uid: job["fence"] for uid, job in stored.items()}
        self.live = sum(job["status"] not in PAST for job in stored.values())
        for trainer in self.trainers:
            trainer.accepted.clear()
        acts = [self._act_of_person(person, which), self._act_of_clock(clock)]
        acts += [
            self._act_of_trainer(trainer, act)
            for trainer, act in zip(self.trainers, (first, second), strict=True)
        ]
        await asyncio.gather(*acts)

    async def _act_of_person(self, act: str, which: int) -> None:
        steering, creation = self.service.steering, self.service.creation
        uid = self.jobs[which % len(self.jobs)] if self.jobs else ""
        acts: dict[str, Callable[[], Awaitable[Any]]] = {
            "create": lambda: self.service.create(start=which != 1, priority=which),
            "start": lambda: steering.start(uid),
            "pause": lambda: steering.pause(uid),
            "resume": lambda: steering.resume(uid),
            "cancel": lambda: steering.cancel(uid),
            "retry": lambda: creation.retry(
                RetryJob(uid=uid, options=RetryOptions(from_checkpoint=which or None))
            ),
            "change": lambda: steering.change(uid, JobChanges(priority=which)),
            "deadline": lambda: steering.change(
                uid, JobChanges(deadline=utc_now() + timedelta(seconds=0.05))
            ),
            "delete": lambda: self.service.repository.apply(uid, Change.DELETE),
        }
        if self.live < LIVE_JOBS and act != "retry":
            act = "create"
        if act == "nothing":
            return
        try:
            made = await acts[act]()
        except TunedeckError as error:
            check_refusal(act, error)
            return
        if act in ("create", "retry"):
            self.jobs = [*self.jobs, made.job_uid][-KNOWN_JOBS:]

    async def _act_of_trainer(self, trainer: Trainer, act: str) -> None:
        if trainer.run is None:
            run = (await self.service.queue.claim(claim(trainer.name))).run
            if run is not None:
                trainer.run = (run.job_uid, run.fence)
                trainer.step = run.checkpoints[0].step if run.checkpoints else 0
            return
        uid, fence = trainer.run
        if act == "stall":
            return
        try:
            await self._tell(trainer, act, uid, fence)
        except TunedeckError as error:
            check_refusal(act, error)
            trainer.run = None
            return
        trainer.accepted.append((uid, fence))
        if act in list(Outcome):
            trainer.run = None

    async def _tell(self, trainer: Trainer, act: str, uid: str, fence: int) -> None:
        if act == "beat":
            await self.service.beat(uid, fence, step=trainer.step, total_steps=100)
        elif act == "fall_back":
            await self.service.beat(uid, fence, resume_iteration=0)
        elif act == "adjust":
            await self.service.beat(uid, fence, probed=probed(micro_batch_size=4))
        elif act == "checkpoint":
            trainer.step += 1
            made = await self.service.stored_checkpoint(fence, trainer.step)
            told = RegisterCheckpoint(job_uid=uid, fence=fence, checkpoint=made)
            await self.service.checkpoints.register(told)
        else:
            await self.service.queue.report(report(uid, fence, Outcome(act)))

    async def _act_of_clock(self, act: str) -> None:
        if act == "lose":
            jobs = self.service.client[self.service.settings.jobs_database]["jobs"]
            past = utc_now() - timedelta(seconds=1)
            await jobs.update_many({"status": "running"}, {"$set": {"lease.until": past}})
        if act in ("lose", "sweep"):
            for record in await self.service.repository.expired():
                await self.service.queue.lose(record)
        elif act == "end_overdue":
            await self.service.sweep.end_overdue()
        elif act == "let_go":
            await self.service.checkpoints.let_go()
        elif act == "finish_deletions":
            await self.service.deletion.finish()

    async def _check(self) -> None:
        stored = await self._stored()
        for uid, job in stored.items():
            if self.checked.get(uid) == job["rev"]:
                continue
            self.checked[uid] = job["rev"]
            events = [JobEvent(uid=uid, name="", training_mode="manual", **one) for one in job["events"]]
            check_history(events)
            self.told.update((uid, one.rev, one.type) for one in events)
            assert job["events"] == job["outbox"], "no change without its event, no event without its change"
            assert (events[-1].rev, events[-1].fence) == (job["rev"], job["fence"])
            assert events[-1].status == job["status"]
            assert (job["lease"] is not None) == (job["status"] == "running")
            assert job["lost"] < self.service.settings.max_attempts
            await self._check_files(job)
        for trainer in self.trainers:
            for uid, fence in trainer.accepted:
                assert fence >= self.fences_before[uid], f"{trainer.name} was replaced, and was taken"

    async def _check_files(self, job: dict[str, Any]) -> None:
        if job["deleted_at"] is not None:
            return
        known = job["checkpoints"]
        steps = [one["step"] for one in known]
        assert steps == sorted(set(steps), reverse=True)
        assert all(one["fence"] <= job["fence"] for one in known)
        files = self.service.client[f"{self.service.settings.jobs_database}_blobs"]["fs.files"]
        kept = {"_id": {"$in": [one["blob"]["id"] for one in known]}, "metadata.expires_at": None}
        assert await files.count_documents(kept) == len(known), "a job names only files that stay"

    async def _stored(self) -> dict[str, dict[str, Any]]:
        jobs = self.service.client[self.service.settings.jobs_database]["jobs"]
        return {job["_id"]: job async for job in jobs.find()}

    async def _forget(self) -> None:
        database = self.service.client[self.service.settings.jobs_database]
        blobs = self.service.client[f"{self.service.settings.jobs_database}_blobs"]
        for collection in (database["jobs"], blobs["fs.files"], blobs["fs.chunks"]):
            await collection.delete_many({})


def check_refusal(act: str, error: TunedeckError) -> None:
    """What is not allowed is refused with a reason; nothing breaks."""
    assert error.status_code in (404, 409, 422), f"{act}: {error.detail}"


def check_history(events: list[JobEvent]) -> None:
    """One job's events from its first: each a legal change, counted without a hole, the fence never lower."""
    assert [one.rev for one in events] == list(range(1, len(events) + 1))
    assert [*broken_chain(events), *sinking_fences(events)] == []
    for before, one in pairwise(events):
        assert one.type is JobEventType.DELETED or before.status not in PAST, "an end is an end"
        is_being_cancelled = before.wanted is Wanted.CANCEL
        assert not (is_being_cancelled and one.status in (Status.COMPLETED, Status.QUEUED, Status.PAUSED))


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture
def service(mongo_url: str, runner: asyncio.Runner) -> Iterator[Service]:
    """Without a bus: what is told stays in the outbox, where it is compared with the history."""

    async def made() -> Service:
        settings = JobsSettings(mongo_url=mongo_url, jobs_database="jobs_lives")
        service = Service(settings, resolver=FixedResolver(), blobs_database="jobs_lives_blobs")  # type: ignore[arg-type]
        await service.blobs.prepare()
        await service.prepare()
        return service

    async def gone(service: Service) -> None:
        for database in ("jobs_lives", "jobs_lives_blobs"):
            await service.client.drop_database(database)
        await service.client.close()

    service = runner.run(made())
    yield service
    runner.run(gone(service))


@pytest.mark.timeout(2400 if IS_LONG else 300)
def test_no_order_of_acts_breaks_a_job(service: Service, runner: asyncio.Runner) -> None:
    rounds: Counter[str] = Counter()
    lives = type("LivesHere", (Lives,), {"service": service, "runner": runner, "rounds": rounds})
    while rounds["all"] < WANTED_ROUNDS:
        run_state_machine_as_test(
            lives,
            settings=settings(
                max_examples=6,
                stateful_step_count=50,
                deadline=None,
                # Acts at once have no order to be tried again: what fails is shown as it was.
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
                database=None,
                print_blob=True,
            ),
        )
    print(f"{rounds['all']} rounds, {sum(rounds.values()) - rounds['all']} events", dict(rounds))
