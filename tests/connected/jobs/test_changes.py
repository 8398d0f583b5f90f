"""One job's way on real servers: create, start, cancel, and the events of each change."""

import asyncio
from dataclasses import replace

import pytest
from pydantic.alias_generators import to_camel

from tests.support.jobs_service import FOUND, NO_MODEL, Service, body, claim, report, request
from tunedeck_contracts import rpc
from tunedeck_contracts.errors import Conflict, NotFound, Unavailable, ValidationFailed
from tunedeck_contracts.jobs import Job, Phase, Status, SubmitJob, Wanted
from tunedeck_contracts.runs import Beat, Outcome
from tunedeck_jobs.creation import NO_SEARCH
from tunedeck_jobs.relay import Relay
from tunedeck_jobs.resolving import Resolution, Resolver

BODY = (
    "name",
    "description",
    "tags",
    "configuration",
    "model_saving",
    "modelSaving",
    "start",
    "training_mode",
    "trainingMode",
    "priority",
    "deadline",
    "device",
    "stop_after_steps",
    "stopAfterSteps",
)


async def test_a_job_runs_from_created_to_completed_and_each_change_is_an_event(service: Service) -> None:
    uid, fence = await service.running()
    beat = Beat(
        job_uid=uid, fence=fence, phase=Phase.TRAINING, step=1, total_steps=4, epoch=1, total_epochs=2
    )
    assert (await service.queue.beat(beat)).wanted is Wanted.RUN
    assert (await service.jobs.get(uid)).training.progress == 25.0
    await service.queue.report(report(uid, fence))
    job = await service.jobs.get(uid)
    assert (job.status, job.training.progress, job.name) == (Status.COMPLETED, 100.0, "$name with a dollar")
    events = await service.events(uid)
    assert [(one.rev, one.type.value) for one in events] == [
        (1, "created"),
        (2, "queued"),
        (3, "started"),
        (4, "completed"),
    ]
    assert events[-1].last_iteration == 3


async def test_what_does_not_resolve_stays_created_and_says_what_is_missing(service: Service) -> None:
    service.resolver.answer = NO_MODEL
    created = await service.create()
    assert created.job.status is Status.CREATED
    assert created.job.problems == ["model: There is no such model."]
    assert (await service.queue.claim(claim())).run is None


async def test_cancel_ends_a_waiting_job_at_once_and_tells_a_running_one(service: Service) -> None:
    waiting = await service.create()
    assert (await service.steering.cancel(waiting.job_uid)).status is Status.CANCELLED
    uid, fence = await service.running()
    assert (await service.steering.cancel(uid)).wanted is Wanted.CANCEL
    beat = Beat(job_uid=uid, fence=fence, phase=Phase.TRAINING)
    assert (await service.queue.beat(beat)).wanted is Wanted.CANCEL
    await service.queue.report(report(uid, fence, Outcome.CANCELLED))
    assert (await service.jobs.get(uid)).status is Status.CANCELLED
    with pytest.raises(Conflict, match="ended as cancelled"):
        await service.steering.cancel(uid)


async def test_the_outbox_is_published_once_though_two_relays_run(service: Service) -> None:
    uid, _ = await service.running()
    other = Relay(service.repository, service.bus)
    await asyncio.gather(service.relay.publish_pending(), other.publish_pending())
    events = await service.events(uid)
    assert [one.rev for one in events] == [1, 2, 3]
    assert await service.repository.unpublished() == []


@pytest.mark.parametrize("uid", [">", "*", "a.b", "", "job_1 ", "x" * 65])
async def test_an_id_that_could_be_a_wildcard_is_not_found(service: Service, uid: str) -> None:
    with pytest.raises(NotFound):
        await service.jobs.get(uid)


async def test_every_wrong_hyperparameter_is_named_at_once(service: Service) -> None:
    wrong = {
        "model": {"uid": "local/tiny"},
        "dataset": {"uid": "dataset_1"},
        "hyperparameters": {"learning_rate": -1, "epochs": 0, "unknown": 1},
    }
    with pytest.raises(ValidationFailed) as caught:
        await service.create(configuration=wrong)
    assert {one.loc for one in caught.value.errors or []} == {
        "configuration.hyperparameters.learning_rate",
        "configuration.hyperparameters.epochs",
    }


async def test_a_start_resolves_again_and_queues_once(service: Service) -> None:
    service.resolver.answer = NO_MODEL
    uid = (await service.create()).job_uid
    service.resolver.answer = replace(NO_MODEL, problems=("model: Still none.",))
    with pytest.raises(Conflict, match="cannot be started: model: Still none") as caught:
        await service.steering.start(uid)
    assert [one.message for one in caught.value.errors or []] == ["model: Still none."]
    assert (await service.jobs.get(uid)).problems == ["model: Still none."]
    service.resolver.answer = FOUND
    answers = await asyncio.gather(*(service.steering.start(uid) for _ in range(5)), return_exceptions=True)
    started = [one for one in answers if isinstance(one, Job)]
    refused = [one for one in answers if isinstance(one, Conflict)]
    assert (len(started), len(refused)) == (1, 4)
    assert (started[0].status, started[0].problems, started[0].rev) == (Status.QUEUED, [], 2)
    assert {one.detail for one in refused} == {f"Job {uid!r} is queued; only a created job can be started."}
    run = (await service.queue.claim(claim())).run
    assert run is not None and (run.job_uid, run.dataset.uid, run.model.name) == (uid, "dataset_1", "Tiny")


async def test_a_start_while_the_catalog_is_away_may_be_tried_again(service: Service) -> None:
    uid = (await service.create(start=False)).job_uid
    service.resolver.answer = Resolution(None, None, ("model: It did not answer.",), is_unavailable=True)
    with pytest.raises(Unavailable, match="did not answer"):
        await service.steering.start(uid)
    assert (await service.jobs.get(uid)).status is Status.CREATED


async def test_a_job_is_created_within_its_time_limit_though_the_catalog_is_away(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service.resolver, "resolve", Resolver(service.bus, seconds=4.0).resolve)
    # As in the table of requests: twice the time that the catalog is given.
    created = await service.bus.request(rpc.JOB_CREATE, request(), timeout=8.0)
    assert created.job.status is Status.CREATED
    assert created.job.problems == [
        f"{what}: The catalog service did not answer within 4 s." for what in ("model", "dataset")
    ]


async def test_what_no_start_takes_away_stays_among_the_problems(service: Service) -> None:
    service.resolver.answer = NO_MODEL
    uid = (await service.create(trainingMode="automated")).job_uid
    assert (await service.jobs.get(uid)).problems == ["model: There is no such model.", NO_SEARCH]
    service.resolver.answer = FOUND
    assert (await service.steering.start(uid)).problems == [NO_SEARCH]


async def test_nobody_sets_what_only_the_system_may_set(service: Service) -> None:
    stored = service.client[service.settings.jobs_database]["jobs"]
    plain = await stored.find_one({"_id": (await service.create()).job_uid})
    assert plain is not None
    ours = {
        "uid",
        "_id",
        "owner",
        "idempotency_key",
        "idempotencyKey",
        "submission",
        "liveMetrics",
        "retryOf",
    }
    hostile = dict.fromkeys({*Job.model_fields, *plain, *ours} - set(BODY), "taken from the body")
    hostile |= {to_camel(name): value for name, value in hostile.items() if to_camel(name) not in BODY}
    hostile |= {"status": "completed", "fence": 99, "rev": 99, "deleted_at": "2020-01-01T00:00:00Z"}
    configuration = {
        "model": {"uid": "local/tiny", "source": "hub", "extra": 1},
        "dataset": {"uid": "dataset_1", "rows_blob": "mine", "extra": 1},
        "hyperparameters": {"extra": 1, "status": "completed"},
        "pinned": {"model": "mine"},
    }
    sent = {"job": body(**hostile, configuration=configuration), "idempotency_key": "a-key"}
    created = await service.creation.create(SubmitJob.model_validate(sent))
    found = await stored.find_one({"_id": created.job_uid})
    assert found is not None and found["submission"]["key"] == "a-key"
    differing = {"_id", "created_at", "last_modified", "outbox", "events", "submission"}
    assert {k: v for k, v in found.items() if k not in differing} == {
        k: v for k, v in plain.items() if k not in differing
    }
    timeless = [
        [{k: v for k, v in one.items() if k != "at"} for one in job["outbox"]] for job in (found, plain)
    ]
    assert timeless[0] == timeless[1]


async def test_a_deletion_without_telemetry_leaves_the_rest_to_its_event(service: Service) -> None:
    uid = (await service.create(start=False)).job_uid
    gone = await service.deletion.delete(uid)
    assert gone.points is None and gone.message.endswith("its points and logs follow.")
    assert (await service.events(uid))[-1].type.value == "deleted"
