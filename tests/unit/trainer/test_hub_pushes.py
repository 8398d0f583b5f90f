"""A push whose files cannot be had, or that takes too long: it is told, and nothing of it is left."""

import asyncio
import contextlib
import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.unit.trainer.place import Place, until
from tunedeck_contracts import rpc
from tunedeck_contracts.errors import Unavailable
from tunedeck_contracts.model_saving import (
    HubPush,
    PushClaimed,
    PushProblem,
    PushReported,
    PushWork,
    StoredArtifact,
)
from tunedeck_trainer import hub_upload
from tunedeck_trainer.hub_pushes import HubPushes, token_problem

CARD = b"# A model"


class OnePush:
    """A bus on which one push waits, and whose first answers are lost."""

    def __init__(self) -> None:
        self.claimed_for = 0.0
        self.told: list[HubPush] = []
        self.failures = 1

    async def request(self, asked: rpc.Rpc[Any, Any], message: Any) -> Any:
        if asked is rpc.PUSH_CLAIM:
            if self.claimed_for:
                return PushClaimed()
            self.claimed_for = message.seconds
            sha256 = hashlib.sha256(CARD).hexdigest()
            file = StoredArtifact(path="merged/README.md", size=len(CARD), sha256=sha256, blob_id="card")
            work = PushWork(job_uid="job_1_aaaa", claim=3, repository="sums", public=False, files=[file])
            return PushClaimed(work=work)
        assert asked is rpc.PUSH_REPORT and message.claim == 3
        if self.failures:
            self.failures -= 1
            raise Unavailable("jobs is away.")
        self.told.append(message.push)
        return PushReported()


async def told(place: Place, monkeypatch: pytest.MonkeyPatch, **settings: object) -> HubPush:
    """How the one push ended."""
    monkeypatch.delenv("HF_TOKEN", raising=False)
    bus: Any = OnePush()
    around = replace(place.around, bus=bus, settings=place.settings.model_copy(update=settings))
    pushes = asyncio.create_task(HubPushes(around).run())
    await until(lambda: bool(bus.told))
    pushes.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await pushes
    assert bus.claimed_for > around.settings.push_seconds
    assert not (place.settings.work_dir / "push").exists()
    return bus.told[0]  # type: ignore[no-any-return]


async def test_files_that_are_gone_are_told(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    push = await told(place, monkeypatch)
    assert (push.problem, push.detail) == (PushProblem.FILES_GONE, "There is no blob 'card'.")


async def test_a_file_that_is_not_what_was_reported_is_not_sent(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.blobs.held["card"] = b"# Another model"
    assert (await told(place, monkeypatch)).problem is PushProblem.FILES_GONE


async def test_a_push_that_takes_too_long_is_ended(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.blobs.held["card"] = CARD
    push = await told(place, monkeypatch, push_seconds=0.05)
    assert push.problem is PushProblem.TIMED_OUT
    assert push.hint is not None and "TUNEDECK_PUSH_SECONDS" in push.hint


async def test_a_push_that_breaks_in_a_way_of_its_own_is_told_and_ends_nothing(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: str) -> None:
        raise ValueError("embedded null byte")

    monkeypatch.setattr(place.blobs, "read", broken)
    push = await told(place, monkeypatch)
    assert (push.problem, push.detail) == (
        PushProblem.UNKNOWN,
        "The push failed for a reason of the trainer's own; its log has it.",
    )


async def test_the_process_that_sends_is_asked_for_files_that_are_whole(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.blobs.held["card"] = CARD
    push = await told(place, monkeypatch)
    assert (push.problem, push.repository) == (PushProblem.NO_TOKEN, "sums")


def test_a_missing_token_is_known_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "")
    problem = token_problem()
    assert problem is not None and "has no HF_TOKEN" in problem
    monkeypatch.setenv("HF_TOKEN", "hf_1\x01")
    problem = token_problem()
    assert problem is not None and "characters that no token has" in problem
    monkeypatch.setenv("HF_TOKEN", "hf_1")
    assert token_problem() is None


def test_what_is_told_of_a_push_never_has_the_token(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*_: object) -> HubPush:
        raise ValueError("Illegal header: Bearer hf_secret")

    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setattr(hub_upload, "_sent", refuse)
    push = hub_upload.pushed(
        hub_upload.Upload(folder=tmp_path, repository="sums", public=False, summary="A model")
    )
    assert push.detail == "The Hub's client gave up: Illegal header: Bearer HF_TOKEN"
