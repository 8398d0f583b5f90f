"""Points on disk until telemetry has stored them: numbered from 1 in each kind, kept in the order they came.

A file that outlives the process. Each kind has a bound in bytes: who adds learns when it is full, and when
the disk is.
"""

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tunedeck_contracts.subjects import TrainingKind
from tunedeck_contracts.telemetry import Stored

_SCHEMA = """
CREATE TABLE IF NOT EXISTS points (
    place INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, number INTEGER NOT NULL, data BLOB NOT NULL,
    UNIQUE (kind, number)
);
CREATE TABLE IF NOT EXISTS kinds (kind TEXT PRIMARY KEY, bytes INTEGER NOT NULL, last INTEGER NOT NULL,
    freed INTEGER NOT NULL);
"""

_DISK_FULL = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_SHMSIZE)


@dataclass(frozen=True)
class Spooled:
    """One point that waits; `place` is its order among all kinds."""

    place: int
    kind: TrainingKind
    number: int
    data: bytes


class Spool:
    """The points of one run. Every call is a short transaction that survives the death of the process."""

    def __init__(self, file: Path, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._database = sqlite3.connect(file, isolation_level=None)
        # The file need not outlive the machine: then the run is lost with it.
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.execute("PRAGMA synchronous=OFF")
        self._database.executescript(_SCHEMA)
        for kind in TrainingKind:
            self._database.execute("INSERT OR IGNORE INTO kinds VALUES (?, 0, 0, 0)", (kind.value,))

    def last(self, kind: TrainingKind) -> int:
        """The number of the newest point ever added; 0 for none."""
        return self._of_kind(kind, "last")

    def has_room(self, kind: TrainingKind) -> bool:
        """Whether this kind is below its bound."""
        return self._of_kind(kind, "bytes") < self._most_bytes

    def add(self, kind: TrainingKind, number: int, data: bytes) -> bool:
        """Keep a point; False, and nothing is kept, when its kind or the disk is full.

        `number` follows `last(kind)`.
        """
        if not self.has_room(kind):
            return False
        try:
            self._add(kind, number, data)
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode not in _DISK_FULL:
                raise
            return False
        return True

    def _add(self, kind: TrainingKind, number: int, data: bytes) -> None:
        with self._database:
            self._database.execute("BEGIN")
            self._database.execute(
                "INSERT INTO points (kind, number, data) VALUES (?, ?, ?)", (kind.value, number, data)
            )
            self._database.execute(
                "UPDATE kinds SET bytes = bytes + ?, last = ? WHERE kind = ?", (len(data), number, kind.value)
            )

    def after(self, place: int, limit: int) -> list[Spooled]:
        """The next points behind a place, in the order they came."""
        rows: Iterable[tuple[int, str, int, bytes]] = self._database.execute(
            "SELECT place, kind, number, data FROM points WHERE place > ? ORDER BY place LIMIT ?",
            (place, limit),
        )
        return [Spooled(place, TrainingKind(kind), number, data) for place, kind, number, data in rows]

    def free(self, stored: Stored) -> None:
        """Drop what is stored: every kind up to its watermark. On a full disk nothing is dropped."""
        try:
            self._free(stored)
        except sqlite3.OperationalError as error:
            # Even to drop something needs a little room, for the journal of it.
            if error.sqlite_errorcode not in _DISK_FULL:
                raise

    def _free(self, stored: Stored) -> None:
        for kind, number in _watermarks(stored):
            row = self._database.execute(
                "SELECT COALESCE(SUM(LENGTH(data)), 0) FROM points WHERE kind = ? AND number <= ?",
                (kind.value, number),
            ).fetchone()
            with self._database:
                self._database.execute("BEGIN")
                self._database.execute(
                    "DELETE FROM points WHERE kind = ? AND number <= ?", (kind.value, number)
                )
                self._database.execute(
                    "UPDATE kinds SET bytes = bytes - ?, freed = MAX(freed, ?) WHERE kind = ?",
                    (row[0], number, kind.value),
                )

    def freed(self) -> Stored:
        """The watermarks up to which points were freed."""
        return Stored(
            losses=self._of_kind(TrainingKind.LOSS, "freed"),
            resources=self._of_kind(TrainingKind.RESOURCES, "freed"),
            logs=self._of_kind(TrainingKind.LOG, "freed"),
        )

    def first(self, kind: TrainingKind) -> int | None:
        """The place of the oldest point of a kind that waits."""
        query = "SELECT MIN(place) FROM points WHERE kind = ?"
        found: int | None = self._database.execute(query, (kind.value,)).fetchone()[0]
        return found

    def newest(self) -> int:
        """The place of the newest point that waits; 0 for none."""
        return int(self._database.execute("SELECT COALESCE(MAX(place), 0) FROM points").fetchone()[0])

    def is_stored(self, place: int) -> bool:
        """Whether no point up to a place waits."""
        row = self._database.execute("SELECT 1 FROM points WHERE place <= ? LIMIT 1", (place,)).fetchone()
        return row is None

    def is_empty(self) -> bool:
        """Whether everything that was added is stored."""
        return self.newest() == 0

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def _of_kind(self, kind: TrainingKind, column: str) -> int:
        row = self._database.execute(f"SELECT {column} FROM kinds WHERE kind = ?", (kind.value,)).fetchone()
        return int(row[0])


def _watermarks(stored: Stored) -> list[tuple[TrainingKind, int]]:
    return [
        (TrainingKind.LOSS, stored.losses),
        (TrainingKind.RESOURCES, stored.resources),
        (TrainingKind.LOG, stored.logs),
    ]
