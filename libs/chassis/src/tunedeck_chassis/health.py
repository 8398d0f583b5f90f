"""How a service answers `rpc.<service>.health.check`."""

from collections.abc import Awaitable, Callable, Sequence
from importlib.metadata import version

from tunedeck_chassis.broker import request_handler
from tunedeck_chassis.requests import Router
from tunedeck_contracts.health import CheckHealth, Health
from tunedeck_contracts.rpc import health_check

Check = Callable[[], Awaitable[str | None]]
"""Says in a sentence what is wrong, or None."""


def health_router(service: str, checks: Sequence[Check], packages: Sequence[str]) -> Router:
    """A router that answers the health check: unhealthy while any check has something to say."""
    router = Router()
    versions = {name: version(name) for name in packages}

    @request_handler(router, health_check(service))
    async def check(message: CheckHealth) -> Health:
        problems = [problem for one in checks if (problem := await one()) is not None]
        return Health(
            service=service,
            status="unhealthy" if problems else "healthy",
            problems=problems,
            packages=versions,
        )

    return router
