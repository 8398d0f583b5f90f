"""Makes the streams and durable consumers again whenever NATS lacks them: its store may have been lost.

It changes none that is there: during an upgrade it may be older than who provisioned last.

`python -m tunedeck_chassis.keeper` runs beside the services for as long as they do, as the user `provision`.
"""

import asyncio

import structlog
from nats.errors import Error as NatsError

from tunedeck_chassis.logs import configure
from tunedeck_chassis.misprovisioned import Misprovisioned
from tunedeck_chassis.provisioning import ProvisionSettings, provision_streams

log = structlog.get_logger()

LOOK_SECONDS = 2.0


async def keep(settings: ProvisionSettings) -> None:
    """Look until cancelled; while NATS is away, there is nothing to do."""
    while True:
        try:
            for change in await provision_streams(settings, change=False):
                log.warning("provisioned_again", change=change)
            if settings.heartbeat_file is not None:
                settings.heartbeat_file.touch()
        except (Misprovisioned, NatsError, TimeoutError, OSError) as error:
            log.warning("not_provisioned", error=repr(error))
        await asyncio.sleep(LOOK_SECONDS)


def main() -> None:
    """Entry point."""
    settings = ProvisionSettings()
    configure("keeper", settings.log_level)
    asyncio.run(keep(settings))


if __name__ == "__main__":
    main()
