"""A disk so small that a test can fill it up."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

_MEGABYTE = 2**20

needs_root = pytest.mark.skipif(
    os.geteuid() != 0, reason="only root can mount the small disk that is filled up"
)


@contextmanager
def small_disk(size: int) -> Iterator[Path]:
    """A disk of `size` bytes in memory, in a mount namespace that goes with the process that holds it."""
    script = f"mount -t tmpfs -o size={size} tmpfs /mnt && echo mounted && exec sleep 3600"
    holder = subprocess.Popen(["unshare", "-m", "sh", "-c", script], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    try:
        if holder.stdout.readline() != b"mounted\n":
            pytest.skip("this machine lets not even root mount a disk in memory")
        yield Path(f"/proc/{holder.pid}/root/mnt")
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()


def fill(filler: Path, size: int) -> None:
    """Add so many bytes to a file, or as many as there is room for."""
    # Without a buffer: its rest would find no room when the file is closed.
    with filler.open("ab", buffering=0) as opened, suppress(OSError):
        for _ in range(size // _MEGABYTE):
            if opened.write(b"x" * _MEGABYTE) < _MEGABYTE:
                return
