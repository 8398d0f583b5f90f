"""`Idempotency-Key`: the same request sent many times makes one job and gets one answer."""

import asyncio

import pytest

from tests.support.jobs_service import Service, claim, request
from tunedeck_contracts.errors import Conflict
from tunedeck_contracts.job_lists import ListJobs
from tunedeck_contracts.jobs import JobCreated


async def count(service: Service) -> int:
    return (await service.listing.page(ListJobs())).total


async def test_fifty_at_once_make_one_job_and_get_equal_answers(service: Service) -> None:
    answers = await asyncio.gather(*(service.creation.create(request(key="k")) for _ in range(50)))
    assert len({answer.to_json() for answer in answers}) == 1
    assert await count(service) == 1


async def test_a_late_repetition_gets_the_first_answer_not_the_jobs_state_now(service: Service) -> None:
    first = await service.creation.create(request(key="k"))
    assert (await service.queue.claim(claim())).run is not None
    again = await service.creation.create(request(key="k"))
    assert again.to_json() == first.to_json()
    assert JobCreated.model_validate_json(first.to_json()) == first


async def test_another_body_with_the_key_is_refused_and_another_owner_is_not(service: Service) -> None:
    first = await service.creation.create(request(key="k", owner="key_1"))
    with pytest.raises(Conflict, match="from another body") as caught:
        await service.creation.create(request(key="k", owner="key_1", name="another"))
    assert first.job_uid in caught.value.detail
    same = await service.creation.create(request(key="k", owner="key_1", unknown="ignored"))
    assert same.job_uid == first.job_uid
    assert (await service.creation.create(request(key="k", owner="key_2"))).job_uid != first.job_uid
    assert (await service.creation.create(request(key="k"))).job_uid != first.job_uid


@pytest.mark.usefixtures("telemetry_forgets")
async def test_the_key_of_a_deleted_job_is_refused_until_nothing_of_the_job_is_left(service: Service) -> None:
    first = await service.creation.create(request(key="k", start=False))
    await service.deletion.delete(first.job_uid)
    with pytest.raises(Conflict, match="was just deleted"):
        await service.creation.create(request(key="k", start=False))
    await service.relay.publish_pending()
    assert await service.deletion.finish() == 1
    assert (await service.creation.create(request(key="k", start=False))).job_uid != first.job_uid


async def test_without_a_key_every_request_makes_a_job(service: Service) -> None:
    await asyncio.gather(*(service.creation.create(request()) for _ in range(5)))
    assert await count(service) == 5
