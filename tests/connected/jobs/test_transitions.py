"""The whole table on a real MongoDB: every change from every state, and every guard broken once."""

import itertools
from datetime import timedelta
from typing import Any

from tests.support.jobs_service import Service
from tunedeck_contracts.estimates import BatchSplit
from tunedeck_contracts.jobs import Device, Status
from tunedeck_contracts.message import utc_now
from tunedeck_jobs.lifecycle import RULES, Change, Facts, Guard, Reached, allowed

SPLIT = BatchSplit(micro_batch_size=2, gradient_accumulation_steps=4)
FACTS = Facts(4, frozenset({Device.CPU}), most_lost=3, resume_iteration=10, split=SPLIT, rev=7)
DAY = timedelta(days=1)
STORED: dict[str, Any] = {
    "fence": 4,
    "rev": 7,
    "wanted": "run",
    "lost": 0,
    "not_before": None,
    "resume_step": 20,
    "device": None,
    "deadline": None,
    "lease": None,
}
HOLDS: dict[Guard, dict[str, Any]] = {
    Guard.FENCE: {"fence": 4},
    Guard.LEASE_OVER: {"lease": {"until": utc_now() - DAY}},
    Guard.WANTS_RUN: {"wanted": "run"},
    Guard.WANTS_PAUSE: {"wanted": "pause"},
    Guard.WANTS_CANCEL: {"wanted": "cancel"},
    Guard.NOT_CANCELLED: {},
    Guard.DEVICE: {"device": "cpu"},
    Guard.RESTED: {"not_before": utc_now() - DAY},
    Guard.IN_TIME: {"deadline": utc_now() + DAY},
    Guard.OVERDUE: {"deadline": utc_now() - DAY},
    Guard.ATTEMPTS_LEFT: {"lost": 1},
    Guard.NO_ATTEMPT_LEFT: {"lost": 2},
    Guard.EARLIER: {"resume_step": 11},
    Guard.COARSER: {"batch_split": {"micro_batch_size": 4, "gradient_accumulation_steps": 2}},
    Guard.UNCHANGED: {"rev": 7},
}
BREAKS: dict[Guard, dict[str, Any]] = {
    Guard.FENCE: {"fence": 5},
    Guard.LEASE_OVER: {"lease": {"until": utc_now() + DAY}},
    Guard.WANTS_RUN: {"wanted": "pause"},
    Guard.WANTS_PAUSE: {"wanted": "run"},
    Guard.WANTS_CANCEL: {"wanted": "run"},
    Guard.NOT_CANCELLED: {"wanted": "cancel"},
    Guard.DEVICE: {"device": "gpu"},
    Guard.RESTED: {"not_before": utc_now() + DAY},
    Guard.IN_TIME: {"deadline": utc_now() - DAY},
    Guard.OVERDUE: {"deadline": utc_now() + DAY},
    Guard.ATTEMPTS_LEFT: {"lost": 2},
    Guard.NO_ATTEMPT_LEFT: {"lost": 1},
    Guard.EARLIER: {"resume_step": 10},
    Guard.COARSER: {"batch_split": {"micro_batch_size": 2, "gradient_accumulation_steps": 4}},
    Guard.UNCHANGED: {"rev": 8},
}


async def stored(service: Service, status: Status, fields: dict[str, Any]) -> str:
    """A job in a state that nothing but a test can put it into."""
    uid = (await service.create(start=False)).job_uid
    jobs = service.client[service.settings.jobs_database]["jobs"]
    await jobs.update_one({"_id": uid}, {"$set": {**STORED, "status": status.value, **fields}})
    return uid


def holding(change: Change) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for guard in RULES[change].guards:
        fields |= HOLDS[guard]
    return fields


async def test_a_change_is_made_from_the_states_of_its_rule_and_from_no_other(service: Service) -> None:
    for change, status in itertools.product(Change, Status):
        uid = await stored(service, status, holding(change))
        before = await service.jobs.events(uid)
        record = await service.repository.apply(uid, change, FACTS)
        assert (record is not None) == allowed(change, status), (change, status)
        if record is None:
            unchanged = await service.repository.get(uid)
            assert unchanged is not None and unchanged.job.rev == 7
            continue
        target = RULES[change].target
        assert record.job.status is (status if isinstance(target, Reached) else target)
        assert record.job.rev == 8
        if target is Reached.GONE:
            assert await service.repository.get(uid) is None
            continue
        events = (await service.jobs.events(uid)).events
        assert len(events) == len(before.events) + 1
        assert (events[-1].rev, events[-1].type) == (8, RULES[change].event)


async def test_a_change_whose_guard_does_not_hold_is_not_made(service: Service) -> None:
    guarded = [(change, guard) for change in Change for guard in sorted(RULES[change].guards)]
    for change, guard in guarded:
        status = min(RULES[change].sources)
        uid = await stored(service, status, {**holding(change), **BREAKS[guard]})
        assert await service.repository.apply(uid, change, FACTS) is None, (change, guard)
        uid = await stored(service, status, holding(change))
        assert await service.repository.apply(uid, change, FACTS) is not None, (change, guard)


async def test_a_sweep_takes_no_job_whose_lease_was_renewed_since_it_looked(service: Service) -> None:
    guard = Guard.LEASE_OVER
    for fields, is_taken in ((BREAKS[guard], False), (HOLDS[guard], True)):
        uid = await stored(service, Status.RUNNING, fields)
        taken = await service.repository.apply(uid, Change.REQUEUE, FACTS, guard, raise_fence=True)
        assert (taken is not None) == is_taken
        assert taken is None or taken.fence == 5


def test_every_guard_is_of_some_change_or_of_the_sweep() -> None:
    used = set(itertools.chain.from_iterable(rule.guards for rule in RULES.values()))
    assert used | {Guard.LEASE_OVER} == set(Guard) == set(HOLDS) == set(BREAKS)
