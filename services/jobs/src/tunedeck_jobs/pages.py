"""The place in a list where a page ends, and the cursor that stands for it.

A place is the sorted field of the page's last job and its uid, not a number of
jobs: what is added or removed meanwhile moves no page.
"""

import base64
import json
from dataclasses import dataclass
from datetime import UTC, datetime

from tunedeck_contracts.errors import BadRequest
from tunedeck_contracts.job_lists import JobSort
from tunedeck_contracts.jobs import Job


@dataclass(frozen=True)
class Place:
    """After the job `uid`, whose sorted field has `value`."""

    value: datetime | str
    uid: str


def place_of(job: Job, sort: JobSort) -> Place:
    """The place after a job."""
    match sort.removeprefix("-"):
        case "createdAt":
            return Place(job.created_at, job.uid)
        case "lastModified":
            return Place(job.last_modified, job.uid)
        case "name":
            return Place(job.name, job.uid)
        case _:
            return Place(job.status.value, job.uid)


def to_cursor(place: Place, sort: JobSort) -> str:
    """The place as the opaque text that a client sends back."""
    value = place.value if isinstance(place.value, str) else place.value.isoformat()
    text = json.dumps([sort.value, value, place.uid], ensure_ascii=False)
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def from_cursor(cursor: str, sort: JobSort) -> Place:
    """The place that a cursor stands for.

    Raises:
        BadRequest: it is none of ours, or of a list in another order.
    """
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        sorted_by, value, uid = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
        if not (isinstance(value, str) and isinstance(uid, str)):
            raise ValueError("a place is two strings")
        # Half of a surrogate pair is no text that the database takes.
        (value + uid).encode()
        is_time = sort in (JobSort.CREATED, JobSort.NEWEST, JobSort.MODIFIED, JobSort.MODIFIED_DOWN)
        place = Place(_time(value) if is_time and sorted_by == sort else value, uid)
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise BadRequest("The cursor is not one that a list has given; begin again without it.") from error
    if sorted_by != sort:
        raise BadRequest(f"The cursor is of a list sorted by {sorted_by!r}; ask with the same sort.")
    return place


def _time(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("a time of ours has its zone")
    return moment.astimezone(UTC)
