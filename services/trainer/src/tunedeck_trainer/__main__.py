"""`python -m tunedeck_trainer`."""

import asyncio

from tunedeck_chassis.imports import uncollected

with uncollected():
    from tunedeck_chassis.logs import configure
    from tunedeck_trainer.app import serve
    from tunedeck_trainer.settings import TrainerSettings


def main() -> None:
    """Run the service until a signal."""
    settings = TrainerSettings()
    configure("trainer", settings.log_level)
    asyncio.run(serve(settings))


if __name__ == "__main__":
    main()
