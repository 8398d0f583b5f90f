"""Runs `wrk` and reads what it prints."""

import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass

_UNITS = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0}


@dataclass(frozen=True)
class Load:
    """What one run of wrk saw; `p99` in milliseconds."""

    rate: float
    p99: float


def load(
    url: str, *, seconds: int = 5, connections: int = 32, headers: Mapping[str, str] | None = None
) -> Load:
    """Load one address with one thread.

    Raises:
        SystemExit: wrk is not installed.
        RuntimeError: an answer was not 2xx, or a connection failed: its rate would say nothing.
    """
    if shutil.which("wrk") is None:
        sys.exit("wrk is not installed: sudo apt-get install wrk")
    given = [part for name, value in (headers or {}).items() for part in ("-H", f"{name}: {value}")]
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", *given, url]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    if "Non-2xx" in printed or "Socket errors" in printed:
        raise RuntimeError(f"Not every request of {url} succeeded:\n{printed}")
    return Load(rate=float(_found(r"Requests/sec:\s+([\d.]+)", printed)[0]), p99=_p99(printed))


def _p99(printed: str) -> float:
    number, unit = _found(r"99%\s+([\d.]+)(us|ms|s|m)\b", printed)
    return float(number) * _UNITS[unit]


def _found(pattern: str, printed: str) -> tuple[str, ...]:
    match = re.search(pattern, printed)
    if match is None:
        raise RuntimeError(f"wrk printed nothing like {pattern}:\n{printed}")
    return match.groups()
