"""`tunedeck jobs` against a server in the gateway's place: what it asks, what it prints, how it ends."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import structlog
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from tunedeck_cli.main import main

HOSTILE = "[red]mine[/red] \x1b[2J, and a name that goes on for longer than a narrow terminal is wide"
KEY = "ftk_1_secret"
asked: list[tuple[str, str]] = []


class Ended(NamedTuple):
    status: int
    out: str
    err: str


def job(uid: str, status: str, **more: Any) -> dict[str, Any]:
    training = {"currentStep": 3, "totalSteps": 6}
    return {
        "uid": uid,
        "name": HOSTILE,
        "status": status,
        "createdAt": "2026-01-02T03:04:05.678Z",
        "training": training,
    } | more


GIB = 2**30
ESTIMATE = {
    "predicted": {
        "seconds": {"low": 8.0, "expected": 10.0, "high": 15.0},
        "peakMemoryBytes": {"low": GIB, "expected": 2 * GIB, "high": 3 * GIB},
    },
    "actual": {"seconds": 12.25, "peakMemoryBytes": 2.5 * GIB, "energyWattHours": 0.75},
}
SPLIT = {"microBatchSize": 2, "gradientAccumulationSteps": 4, "reason": "A micro-batch of 8 did not fit."}
FAILURE = {"code": "crash", "detail": "The training process died.", "hint": "Look."}
JOBS = {
    "job_1": job(
        "job_1", "completed", result={"validationLossAfter": 0.5}, estimate=ESTIMATE, batchSplit=SPLIT
    ),
    "job_2": job("job_2", "failed", failure=FAILURE, estimate=None, batchSplit=None),
    "job_3": job("job_3", "running", live_metrics={"current_loss": 1.25, "validation_loss": 1.5}),
}


async def answer(request: Request) -> JSONResponse:
    """Whatever is asked for, with the key alone."""
    asked.append((request.method, f"{request.url.path}?{request.url.query}"))
    if request.headers.get("Authorization") != f"Bearer {KEY}":
        return JSONResponse({"detail": "A key is needed."}, 401)
    uid = request.path_params.get("uid")
    if uid is None:
        return JSONResponse({"jobs": list(JOBS.values()), "total": 9, "next_cursor": "more"})
    if uid not in JOBS:
        return JSONResponse({"detail": f"There is no job {uid!r}."}, 404)
    if request.url.path.endswith("/logs"):
        lines = [] if uid == "job_1" else [{"number": 1, "level": "info", "text": "step\x1b[31m 1"}]
        return JSONResponse({"job_id": uid, "lines": lines})
    return JSONResponse(JOBS[uid])


async def stream(socket: WebSocket) -> None:
    """Two points and the end; the other job's key has ended meanwhile."""
    await socket.accept()
    if socket.path_params["uid"] == "job_3" or socket.headers.get("Authorization") != f"Bearer {KEY}":
        await socket.close(1008, "The key is no longer in force.")
        return
    for seq in (1, 2):
        point = {"step": seq, "train_loss": 1 / seq, "validation_loss": 0.5, "tokens_per_second": 10.0}
        await socket.send_json({"type": "point", "seq": seq, "total": 2, "training": point})
    await socket.send_json({"type": "end"})
    await socket.close()


@pytest.fixture(scope="module")
def api_url() -> Iterator[str]:
    paths = ("/api/jobs", "/api/jobs/{uid}", "/api/jobs/{uid}/logs", "/api/jobs/{uid}/cancel")
    routes = [Route(path, answer, methods=["GET", "POST"]) for path in paths]
    app = Starlette(routes=[*routes, WebSocketRoute("/ws/training/{uid}", stream)])
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", ws="websockets-sansio"))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        thread.join(10)


@pytest.fixture
def tunedeck(
    api_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Iterator[Callable[..., Ended]]:
    """Runs the command in this process."""
    monkeypatch.setenv("TUNEDECK_HOME", str(tmp_path))
    monkeypatch.setenv("TUNEDECK_API_URL", api_url)
    monkeypatch.setenv("TUNEDECK_API_KEY", KEY)
    monkeypatch.setenv("COLUMNS", "200")
    handlers = {one: signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)}
    logging = structlog.get_config()
    asked.clear()

    def run(*arguments: str) -> Ended:
        monkeypatch.setattr(sys, "argv", ["tunedeck", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        return Ended(int(ended.value.code or 0), printed.out, printed.err)

    yield run
    for one, handler in handlers.items():
        signal.signal(one, handler)
    structlog.configure(**logging)


def test_the_list_shows_names_as_they_are_and_obeys_none(tunedeck: Callable[..., Ended]) -> None:
    done = tunedeck(
        "jobs", "list", "--status", "running", "--status", "failed", "--text", "a b", "--limit", "3"
    )
    assert done.status == 0, done
    assert asked == [("GET", "/api/jobs?status=running&status=failed&q=a+b&limit=3")]
    assert "[red]mine[/red]" in done.out and "\x1b" not in done.out
    row = next(line for line in done.out.splitlines() if line.startswith("job_3"))
    assert row.split()[1:5] == ["running", "3/6", "1.2500", "1.5000"]
    assert "--limit" in done.err


def test_json_is_the_answer_itself_and_alone_on_standard_output(tunedeck: Callable[..., Ended]) -> None:
    listed = json.loads(tunedeck("jobs", "list", "--json").out)
    assert listed == {"jobs": list(JOBS.values()), "total": 9, "next_cursor": "more"}
    assert json.loads(tunedeck("jobs", "logs", "job_2", "--json").out)["lines"][0]["text"] == "step\x1b[31m 1"
    assert json.loads(tunedeck("jobs", "cancel", "job_3", "--json").out) == JOBS["job_3"]


def test_watching_ends_with_the_job_and_says_by_its_status_how(tunedeck: Callable[..., Ended]) -> None:
    good, bad = tunedeck("jobs", "watch", "job_1"), tunedeck("jobs", "watch", "job_2")
    assert (good.status, bad.status) == (0, 1)
    assert "step 2/2  loss 0.5000" in good.out and "job_1 is completed." in good.out
    assert "job_2 is failed (crash): The training process died." in bad.out
    frames = [json.loads(line) for line in tunedeck("jobs", "watch", "job_1", "--json").out.splitlines()]
    assert [frame["type"] for frame in frames] == ["point", "point", "end"]


def test_watching_ends_with_what_was_predicted_and_what_it_took(tunedeck: Callable[..., Ended]) -> None:
    shown = tunedeck("jobs", "watch", "job_1").out.splitlines()
    assert [line.split() for line in shown[-5:-1]] == [
        ["predicted", "actual"],
        ["seconds", "10.0", "(8.0", "to", "15.0)", "12.2"],
        ["memory", "(MiB)", "2048.0", "(1024.0", "to", "3072.0)", "2560.0"],
        ["energy", "(Wh)", "-", "0.8"],
    ]
    assert shown[-1] == "Batches: 4 x 2 rows a step. A micro-batch of 8 did not fit."
    unprobed = tunedeck("jobs", "watch", "job_2").out
    assert "predicted" not in unprobed and "Batches" not in unprobed


def test_cancel_asks_and_says_when_the_job_ends(tunedeck: Callable[..., Ended]) -> None:
    done = tunedeck("jobs", "cancel", "job_3")
    assert (done.status, asked) == (0, [("POST", "/api/jobs/job_3/cancel?")])
    assert "ends at its next step" in done.out


def test_logs_are_lines_and_a_terminal_obeys_none(tunedeck: Callable[..., Ended]) -> None:
    assert tunedeck("jobs", "logs", "job_2").out == "step\N{REPLACEMENT CHARACTER}[31m 1\n"
    assert "nothing yet" in tunedeck("jobs", "logs", "job_1").err


def test_what_goes_wrong_is_one_sentence_that_says_what_to_do(
    tunedeck: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch
) -> None:
    unknown = tunedeck("jobs", "watch", "../keys")
    assert (unknown.status, unknown.out) == (1, "")
    assert not any(path.startswith("/api/keys") for _, path in asked), "an id is no path"
    assert tunedeck("jobs", "watch", "job_9").err.strip().endswith("(404): There is no job 'job_9'.")
    ended = tunedeck("jobs", "watch", "job_3")
    assert (ended.status, "no longer in force" in ended.err) == (1, True)
    monkeypatch.delenv("TUNEDECK_API_KEY")
    keyless = tunedeck("jobs", "list")
    assert keyless.status == 1 and "A key is needed. Set TUNEDECK_API_KEY" in keyless.err
    monkeypatch.setenv("TUNEDECK_API_URL", "http://127.0.0.1:1")
    away = tunedeck("jobs", "list", "--json")
    assert (away.status, away.out) == (1, "") and "tunedeck up" in away.err and "127.0.0.1:1" in away.err
    monkeypatch.setenv("TUNEDECK_API_URL", "localhost:8000")
    assert "TUNEDECK_API_URL" in tunedeck("jobs", "list").err
    assert tunedeck("jobs", "list", "--limit", "none").status == 2
    assert tunedeck("dlq", "replay").status == tunedeck("dlq", "replay", "1", "--all").status == 2


def test_a_row_stays_one_line_where_a_script_reads(api_url: str, tmp_path: Path) -> None:
    inherited = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    told = {"TUNEDECK_HOME": str(tmp_path), "TUNEDECK_API_URL": api_url, "TUNEDECK_API_KEY": KEY}
    command = [sys.executable, "-m", "tunedeck_cli.main", "jobs", "list", "--limit", "9"]
    done = subprocess.run(
        command, env={**inherited, **told}, capture_output=True, text=True, timeout=60, check=False
    )
    lines = [line.split()[0] for line in done.stdout.splitlines()]
    assert lines == ["uid", *JOBS], done


def test_completion_is_there_for_the_shell() -> None:
    words = {"_TUNEDECK_COMPLETE": "complete_bash", "COMP_WORDS": "tunedeck jobs ", "COMP_CWORD": "2"}
    command = [Path(sys.executable).parent / "tunedeck"]
    done = subprocess.run(command, env={**os.environ, **words}, capture_output=True, text=True, timeout=60)
    assert set(done.stdout.split()) == {"list", "watch", "cancel", "logs"}
