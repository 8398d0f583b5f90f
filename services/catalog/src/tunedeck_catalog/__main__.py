"""`python -m tunedeck_catalog`."""

import uvloop

from tunedeck_chassis.imports import uncollected

with uncollected():
    from tunedeck_catalog.app import serve
    from tunedeck_catalog.settings import CatalogSettings
    from tunedeck_chassis.logs import configure


def main() -> None:
    """Run the service until a signal."""
    settings = CatalogSettings()
    configure("catalog", settings.log_level)
    uvloop.run(serve(settings))


if __name__ == "__main__":
    main()
