"""A tuned model and its base answer over HTTP, token by token, through all processes."""

import contextlib
import json
import os
import signal
from collections.abc import Iterator
from typing import Any

import httpx
import psutil
import pytest

from tests.conftest import TINY_MODEL, RunningStack
from tests.e2e.api import Api, ended, rows_csv
from tests.support.sse import events
from tunedeck_cli.bundled_model import MODEL_ID

QUESTION = "What is 7 plus 7?"
LONG = {"prompt": QUESTION, "max_new_tokens": 400, "adapter": False}
SLOW = {**LONG, "prompt": "Write a very long story about a dragon, in ten chapters."}

# It trains first, which takes its time where other things run.
pytestmark = pytest.mark.timeout(900)

Told = list[tuple[str, dict[str, Any]]]


@pytest.fixture(scope="module")
def tuned(api: Api) -> str:
    """A job that has trained enough for its model to answer otherwise than its base."""
    upload = api.preview(rows_csv(40)).json()["upload_id"]
    settings = {
        "max_steps": 20,
        "batch_size": 8,
        "learning_rate": 0.02,
        "eval_steps": 20,
        "validation_rows": 4,
    }
    uid = api.create_job(upload, **settings)["jobUid"]
    job = api.wait(uid, ended, 500)
    assert job["status"] == "completed", job["failure"]
    return str(uid)


def not_started(api: Api, model: str) -> str:
    """A job that does not start by itself."""
    upload = api.preview(rows_csv(12)).json()["upload_id"]
    return str(api.create_job(upload, model, start=False)["jobUid"])


@pytest.fixture(scope="module")
def slow(api: Api) -> str:
    """A job whose base is large: to SLOW it says all of its 400 tokens, for half a minute."""
    return not_started(api, MODEL_ID)


@contextlib.contextmanager
def asking(api: Api, uid: str, **asked: Any) -> Iterator[Iterator[tuple[str, dict[str, Any]]]]:
    """The events of an answer as they come."""
    with api.main.stream("POST", f"/api/jobs/{uid}/generate", json=asked, timeout=120) as answer:
        assert answer.status_code == 200, answer.read()
        assert answer.headers["content-type"].startswith("text/event-stream")
        yield events(answer.iter_lines())


def answered(api: Api, uid: str, **asked: Any) -> Told:
    with asking(api, uid, **asked) as told:
        return list(told)


def tokens(told: Told) -> list[dict[str, Any]]:
    return [data for event, data in told if event == "token"]


def log_of(stack: RunningStack) -> list[dict[str, Any]]:
    lines = (stack.home / "logs" / "trainer.log").read_text().splitlines()
    return [json.loads(line) for line in lines if line.startswith("{")]


def expected(stack: RunningStack, uid: str, adapter: bool, count: int) -> list[int]:
    """transformers' own greedy answer to the question in the form of the training rows."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = stack.stack.home.models / "local/tiny"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    if adapter:
        model = PeftModel.from_pretrained(model, stack.stack.home.adapters / uid)
    prompt = f"<|im_start|>user\n{QUESTION}<|im_end|>\n<|im_start|>assistant\n"
    asked = tokenizer(prompt, add_special_tokens=False, return_tensors="pt")
    said = model.generate(**asked, do_sample=False, max_new_tokens=count)[0, asked["input_ids"].shape[1] :]
    return [token for token in said.tolist() if token != tokenizer.eos_token_id]


def test_tuned_model_and_base_say_what_transformers_says(api: Api, stack: RunningStack, tuned: str) -> None:
    said = {}
    for adapter in (True, False):
        told = answered(api, tuned, prompt=QUESTION, max_new_tokens=24, adapter=adapter)
        [*spoken, (last, end)] = [one for one in told if one[0] != "queued"]
        assert {event for event, _ in spoken} == {"token"} and last == "end"
        assert [token["index"] for _, token in spoken] == list(range(end["tokens"]))
        said[adapter] = [token["id"] for _, token in spoken]
        assert said[adapter] == expected(stack, tuned, adapter, 24)
        assert end["reason"] == ("length" if end["tokens"] == 24 else "stop")
    assert said[True] != said[False]
    # A conversation of one message is the same question, and the adapter is off and on again.
    again = answered(api, tuned, messages=[{"role": "user", "content": QUESTION}], max_new_tokens=24)
    assert [token["id"] for token in tokens(again)] == said[True]


def test_the_same_seed_draws_the_same_tokens(api: Api, tuned: str) -> None:
    drawn = [
        [
            token["id"]
            for token in tokens(
                answered(api, tuned, prompt="x", max_new_tokens=16, temperature=1.5, seed=seed)
            )
        ]
        for seed in (1, 1, 2)
    ]
    assert drawn[0] == drawn[1] != drawn[2]


def test_an_answer_ends_with_its_time(api: Api, tuned: str) -> None:
    [*_, (event, end)] = answered(api, tuned, **LONG, max_seconds=0.01)
    assert (event, end["reason"]) == ("end", "time")
    assert end["tokens"] < 400


def test_the_next_one_is_told_its_place_and_a_client_that_goes_away_gives_its_own_up(
    api: Api, stack: RunningStack, tuned: str, slow: str
) -> None:
    over = len(log_of(stack))
    with asking(api, slow, **SLOW) as first:
        assert next(first)[0] == "token"
        with asking(api, slow, **SLOW) as second:
            assert next(second) == ("queued", {"position": 1, "waits_for": "requests"})
        # The second has gone while it waited; nothing of it is left.
    last = answered(api, tuned, prompt=QUESTION, max_new_tokens=2, adapter=False)
    assert last[-1][0] == "end"

    def unheard() -> list[dict[str, Any]]:
        ends = [line for line in log_of(stack)[over:] if line.get("event") == "generation_over"]
        return [line for line in ends if line["unheard"]]

    # The log is written by another process.
    api.until(lambda: any(line["tokens"] for line in unheard()), 30)
    # The second may have had its turn for a moment, before anybody noticed that it had gone.
    assert all(line["tokens"] < 400 for line in unheard()), unheard()


def test_what_cannot_be_answered_is_said_before_the_stream_or_in_it(api: Api, tuned: str) -> None:
    waiting = not_started(api, TINY_MODEL)
    url = f"/api/jobs/{waiting}/generate"
    refused = api.main.post(url, json={"prompt": "x"})
    assert refused.status_code == 409, refused.text
    assert "created" in refused.json()["detail"]
    assert answered(api, waiting, prompt="x", adapter=False, max_new_tokens=1)[-1][0] == "end"
    assert api.main.post("/api/jobs/job_none/generate", json={"prompt": "x"}).status_code == 404
    for wrong in ({}, {"prompt": "x", "messages": []}, {"prompt": "x", "max_new_tokens": 5000}):
        assert api.main.post(url, json=wrong).status_code == 422, wrong
    [(event, error)] = answered(api, tuned, prompt="x" * 600, adapter=False)
    assert (event, error["status_code"], error["error_type"]) == ("error", 400, "BadRequest")


def test_a_trainer_that_dies_ends_the_stream_with_an_error(
    api: Api, stack: RunningStack, tuned: str, slow: str
) -> None:
    trainer = stack.stack.supervisor.pid("trainer")
    assert trainer is not None
    with asking(api, slow, **SLOW) as told:
        assert next(told)[0] == "token"
        children = psutil.Process(trainer).children(recursive=True)
        os.kill(trainer, signal.SIGKILL)
        [*_, (event, error)] = told
    assert (event, error["error_type"]) == ("error", "Unavailable")
    assert "Ask again" in error["detail"]
    assert children and not any(child.is_running() for child in children)
    api.until(lambda: stack.stack.supervisor.pid("trainer") not in (None, trainer), 60)

    def is_back() -> bool:
        with contextlib.suppress(httpx.HTTPError, AssertionError):
            return answered(api, tuned, prompt=QUESTION, max_new_tokens=1)[-1][0] == "end"
        return False

    api.until(is_back, 120)
