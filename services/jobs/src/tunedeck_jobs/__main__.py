"""`python -m tunedeck_jobs`."""

import uvloop

from tunedeck_chassis.imports import uncollected

with uncollected():
    from tunedeck_chassis.logs import configure
    from tunedeck_jobs.app import serve
    from tunedeck_jobs.settings import JobsSettings


def main() -> None:
    """Run the service until a signal."""
    settings = JobsSettings()
    configure("jobs", settings.log_level)
    uvloop.run(serve(settings))


if __name__ == "__main__":
    main()
