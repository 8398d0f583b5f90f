"""`GET /` and `GET /api/health`."""

import asyncio
from importlib.metadata import version
from typing import Annotated

from fastapi import APIRouter, Depends, Response

from tunedeck_contracts.errors import TunedeckError, Unavailable
from tunedeck_contracts.health import (
    CheckHealth,
    Health,
    PartHealth,
    Running,
    SystemHealth,
    SystemUnwell,
)
from tunedeck_contracts.rpc import health_check
from tunedeck_gateway.bridge import JSON, Gateway, gateway_of, retry_header

Here = Annotated[Gateway, Depends(gateway_of)]

SERVICES = ("catalog", "jobs", "telemetry", "trainer")
API_VERSION = "1.0.0"


def health_routes(message: str, service: str, endpoints: dict[str, str]) -> APIRouter:
    """The two routes with api.md's words for one of the two APIs."""
    router = APIRouter(tags=["Health"])

    @router.get("/")
    async def show_running() -> Running:
        """That the API runs."""
        return Running(message=message)

    @router.get(
        "/api/health",
        response_model=SystemHealth,
        responses={503: {"model": SystemUnwell, "description": "Something is away; `detail` names it."}},
    )
    async def check_health(gateway: Here) -> Response:
        """Each part's state and the versions of what is installed; 503 when something is away."""
        body = await _health(gateway, service, endpoints)
        status = 503 if isinstance(body, SystemUnwell) else 200
        return Response(body.to_json(), status_code=status, media_type=JSON, headers=retry_header(status))

    return router


async def _health(gateway: Gateway, service: str, endpoints: dict[str, str]) -> SystemHealth:
    asked = asyncio.gather(*(_ask(gateway, one) for one in SERVICES))
    database_problem, answers = await asyncio.gather(gateway.database_problem(), asked)
    servers = {
        "nats": _part([] if gateway.bus.is_connected else ["NATS cannot be reached."]),
        "mongodb": _part([database_problem] if database_problem else []),
    }
    services = {one.service: _part(one.problems) for one in answers}
    away = [name for name, part in {**servers, **services}.items() if part.problems]
    packages = {name: found for one in answers for name, found in one.packages.items()}
    health = SystemHealth(
        status="unhealthy" if away else "healthy",
        service=service,
        version=API_VERSION,
        dependencies={**packages, "fastapi": version("fastapi")},
        endpoints=endpoints,
        services=services,
        servers=servers,
    )
    if not away:
        return health
    return SystemUnwell(**dict(health), **dict(Unavailable(f"Not healthy: {', '.join(away)}.").reply()))


async def _ask(gateway: Gateway, service: str) -> Health:
    try:
        if not gateway.bus.is_connected:
            raise Unavailable("It cannot be asked while NATS is away.")
        return await gateway.bus.request(health_check(service), CheckHealth())
    except TunedeckError as error:
        return Health(service=service, status="unhealthy", problems=[error.detail])


def _part(problems: list[str]) -> PartHealth:
    return PartHealth(status="unhealthy" if problems else "healthy", problems=problems)
