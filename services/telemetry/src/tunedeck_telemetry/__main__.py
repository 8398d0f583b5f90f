"""`python -m tunedeck_telemetry`."""

import uvloop

from tunedeck_chassis.imports import uncollected

with uncollected():
    from tunedeck_chassis.logs import configure
    from tunedeck_telemetry.app import serve
    from tunedeck_telemetry.settings import TelemetrySettings


def main() -> None:
    """Run the service until a signal."""
    settings = TelemetrySettings()
    configure("telemetry", settings.log_level)
    uvloop.run(serve(settings))


if __name__ == "__main__":
    main()
