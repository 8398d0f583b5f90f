"""The whole embedded stack for a benchmark, on free ports in a folder that goes away with it."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tunedeck_cli import ports
from tunedeck_cli.home import Home
from tunedeck_cli.stack import Stack


@contextmanager
def running_stack(environment: dict[str, str] | None = None) -> Iterator[Stack]:
    """Start every process as `tunedeck up` does, quieter in its logs; stop them in order."""
    with tempfile.TemporaryDirectory(prefix="tunedeck-bench-") as folder:
        home = Home(Path(folder) / "home")
        home.create()
        settings = {"TUNEDECK_LOG_LEVEL": "WARNING", **(environment or {})}
        stack = Stack(home, wanted=ports.ANY, environment=settings)
        stack.start()
        try:
            yield stack
        finally:
            stack.stop()
