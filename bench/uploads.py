"""A 50 MB CSV, stored durably and checked row by row, beside one pass of `csv.reader` over its bytes."""

import csv
import http.client
import io
import json
import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from urllib.parse import urlsplit

import psutil

from bench.results import Measurement, alternated
from bench.stack import running_stack

GOAL = 4.0
MEMORY_GOAL_MIB = 64.0
PEER = "one pass of csv.reader"
SIZE = 50_000_000
UPLOADS_AT_ONCE = 4
PACKAGES = ("fastapi", "uvicorn", "uvloop", "httptools", "python-multipart", "pymongo", "nats-py", "pydantic")
SAMPLE_SECONDS = 0.01
BOUNDARY = b"frontier"
_HEAD = (
    b"--%s\r\n" % BOUNDARY
    + b'Content-Disposition: form-data; name="file"; filename="rows.csv"\r\nContent-Type: text/csv\r\n\r\n'
)
_TAIL = b"\r\n--%s--\r\n" % BOUNDARY


def measure() -> list[Measurement]:
    """Seconds of both, and how far the gateway's memory grows under four such uploads."""
    data, rows = question_csv(SIZE)
    body = _HEAD + data + _TAIL
    with running_stack() as stack:
        # First, while the gateway has the memory of one that was just started.
        growth = _growth(stack.api_url, _pid(stack.ports.api), body, rows)
        ours, peer = alternated(lambda: _upload(stack.api_url, body, rows), lambda: _read_by_csv(data))
    return [
        Measurement(
            name="upload.seconds",
            unit="s",
            ours=ours,
            peer=peer,
            peer_name=PEER,
            goal=GOAL,
            higher_is_better=False,
            packages=PACKAGES,
        ),
        Measurement(
            name="upload.gateway_growth",
            unit="MiB",
            ours=[growth],
            goal=MEMORY_GOAL_MIB,
            higher_is_better=False,
            packages=PACKAGES,
        ),
    ]


def question_csv(size: int) -> tuple[bytes, int]:
    """A CSV of about this size with questions and answers of English length, and its number of rows."""
    chance = random.Random(1)
    words = [
        "".join(chance.choices("abcdefghijklmnopqrstuvwxyz", k=chance.randint(2, 9))) for _ in range(2000)
    ]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["input", "output"])
    rows = 0
    while text.tell() < size:
        rows += 1
        question = f"Question {rows}: {' '.join(chance.choices(words, k=8))}?"
        writer.writerow([question, f"Well, {' '.join(chance.choices(words, k=12))}."])
    return text.getvalue().encode(), rows


def _upload(api_url: str, body: bytes, rows: int) -> float:
    """Seconds from the first byte sent to the whole answer, which must count every row."""
    connection = http.client.HTTPConnection(urlsplit(api_url).netloc, timeout=120)
    headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY.decode()}"}
    started = time.perf_counter()
    connection.request("POST", "/api/preview-csv", body, headers)
    answer = connection.getresponse()
    said = answer.read()
    seconds = time.perf_counter() - started
    connection.close()
    if answer.status != 200 or json.loads(said)["statistics"]["total_rows"] != rows:
        raise RuntimeError(f"The upload was answered with {answer.status}: {said[:500]!r}")
    return seconds


def _read_by_csv(data: bytes) -> float:
    started = time.perf_counter()
    for _ in csv.reader(io.TextIOWrapper(io.BytesIO(data), "utf-8", newline="")):
        pass
    return time.perf_counter() - started


def _growth(api_url: str, pid: int, body: bytes, rows: int) -> float:
    """MiB that the gateway's resident memory grew by at most, over what it was before."""
    with _highest_memory(pid) as highest, ThreadPoolExecutor(UPLOADS_AT_ONCE) as threads:
        before = highest[0]
        list(threads.map(lambda _: _upload(api_url, body, rows), range(UPLOADS_AT_ONCE)))
    return (highest[0] - before) / 2**20


@contextmanager
def _highest_memory(pid: int) -> Iterator[list[int]]:
    """A list whose one element is the most bytes that the process had."""
    process = psutil.Process(pid)
    highest = [process.memory_info().rss]
    over = threading.Event()

    def watch() -> None:
        while not over.wait(SAMPLE_SECONDS):
            highest[0] = max(highest[0], process.memory_info().rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield highest
    finally:
        over.set()
        watcher.join()


def _pid(port: int) -> int:
    """The process that listens on the port."""
    listening = [one for one in psutil.net_connections("tcp") if one.status == psutil.CONN_LISTEN]
    return next(one.pid for one in listening if one.laddr.port == port and one.pid)
