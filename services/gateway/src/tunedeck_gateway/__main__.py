"""`python -m tunedeck_gateway`."""

import uvloop

from tunedeck_chassis.imports import uncollected

with uncollected():
    from tunedeck_chassis.logs import configure
    from tunedeck_gateway.server import serve
    from tunedeck_gateway.settings import GatewaySettings


def main() -> None:
    """Serve both ports until a signal."""
    settings = GatewaySettings()
    configure("gateway", settings.log_level)
    uvloop.run(serve(settings))


if __name__ == "__main__":
    main()
