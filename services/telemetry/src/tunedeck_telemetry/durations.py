"""Durations for people, in api.md's three forms."""


def spoken(seconds: float) -> str:
    """`1h 23m 45s`; leading zeros are left out."""
    hours, minutes, rest = _split(seconds)
    if hours:
        return f"{hours}h {minutes}m {rest}s"
    return f"{minutes}m {rest}s" if minutes else f"{rest}s"


def clock(seconds: float) -> str:
    """`1:23:45`."""
    hours, minutes, rest = _split(seconds)
    return f"{hours}:{minutes:02d}:{rest:02d}"


def estimate(seconds: float | None) -> str:
    """`~32m 15s`, or `unknown`."""
    return "unknown" if seconds is None else f"~{spoken(seconds)}"


def _split(seconds: float) -> tuple[int, int, int]:
    whole = max(0, int(seconds))
    return whole // 3600, whole % 3600 // 60, whole % 60
