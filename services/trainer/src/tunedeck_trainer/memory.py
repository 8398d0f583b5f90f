"""Whether a killed process was killed because there was no memory left."""

import contextlib
from pathlib import Path

import psutil

_CGROUP = Path("/sys/fs/cgroup")
_NEAR = 0.95
_NO_LIMIT = 2**60


class MemoryWatch:
    """Looks at one process while it lives, so that its death can be judged.

    The kernel's counters tell of every kill for memory, but not every container shows them: a process that
    was last seen at its limit counts too. `is_launcher`: what trains are the process's children.
    """

    def __init__(self, pid: int, *, is_launcher: bool = False) -> None:
        self._pid = pid
        self._is_launcher = is_launcher
        self._kills_before = self._kills_now = oom_kills()
        self._was_near_limit = False

    def look(self) -> None:
        """Note how much memory it has now, and the kills until here: they were others'.

        Judged is against the look before the last: between its kill and its end it may still be seen.
        """
        self._kills_before, self._kills_now = self._kills_now, oom_kills()
        try:
            process = psutil.Process(self._pid)
            used = process.memory_info().rss
            # To find a process's children psutil reads of every process on the machine.
            children = process.children() if self._is_launcher else []
        except psutil.Error:
            return
        for child in children:
            with contextlib.suppress(psutil.Error):
                used += child.memory_info().rss
        machine = psutil.virtual_memory()
        self._was_near_limit = (
            used > _NEAR * cgroup_limit() or machine.available < (1 - _NEAR) * machine.total
        )

    def explains(self, returncode: int) -> bool:
        """Whether a process that ended so was ended for memory."""
        return returncode == -9 and (self._was_near_limit or oom_kills() > self._kills_before)


def oom_kills() -> int:
    """How many processes the kernel has killed for memory since boot, here or in this container."""
    files = (Path("/proc/vmstat"), _CGROUP / "memory.events")
    return sum(_counter(file, "oom_kill") for file in files)


def cgroup_limit() -> int:
    """Bytes that this container may use; a very large number where nothing limits it."""
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        try:
            return int((_CGROUP / name).read_text())
        except (OSError, ValueError):
            continue
    return _NO_LIMIT


def free_bytes() -> int:
    """Bytes that a new process may take here, by the machine and by this container's limit."""
    free = int(psutil.virtual_memory().available)
    for name in ("memory.current", "memory/memory.usage_in_bytes"):
        with contextlib.suppress(OSError, ValueError):
            # What the kernel keeps of files goes when a process needs it, lately read or not.
            stat = _CGROUP / "memory.stat"
            files = _counter(stat, "inactive_file") + _counter(stat, "active_file")
            used = int((_CGROUP / name).read_text()) - files
            return min(free, max(0, cgroup_limit() - used))
    return free


def _counter(file: Path, name: str) -> int:
    try:
        lines = file.read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(f"{name} ")), 0)
