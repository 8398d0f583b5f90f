"""`GET /` and `GET /api/health`."""

import asyncio
from importlib.metadata import version
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from fastapi.responses import JSONResponse

from tunedeck_contracts.errors import TunedeckError
from tunedeck_contracts.health import CheckHealth, Health
from tunedeck_contracts.rpc import health_check
from tunedeck_gateway.bridge import Gateway, gateway_of, retry_header

Here = Annotated[Gateway, Depends(gateway_of)]

SERVICES = ("catalog", "jobs", "telemetry", "trainer")
API_VERSION = "1.0.0"


async def _ask(gateway: Gateway, service: str) -> Health:
    try:
        return await gateway.bus.request(health_check(service), CheckHealth())
    except TunedeckError as error:
        return Health(service=service, status="unhealthy", problems=[error.detail])


def health_routes(message: str, service: str, endpoints: dict[str, str]) -> APIRouter:
    """The two routes with api.md's words for one of the two APIs."""
    router = APIRouter(tags=["Health"])

    @router.get("/")
    async def root() -> dict[str, str]:
        """That the API runs."""
        return {"message": message, "status": "healthy", "name": "Tunedeck"}

    @router.get("/api/health", responses={503: {"description": "Something is away."}})
    async def health(gateway: Here) -> JSONResponse:
        """Each service's state and the versions of what is installed; 503 when something is away."""
        answers = await asyncio.gather(*(_ask(gateway, one) for one in SERVICES))
        well = all(one.status == "healthy" for one in answers)
        packages = {name: found for one in answers for name, found in one.packages.items()}
        body: dict[str, Any] = {
            "status": "healthy" if well else "unhealthy",
            "service": service,
            "version": API_VERSION,
            "name": "Tunedeck",
            "dependencies": {**packages, "fastapi": version("fastapi")},
            "endpoints": endpoints,
            "services": {one.service: {"status": one.status, "problems": one.problems} for one in answers},
        }
        status = 200 if well else 503
        return JSONResponse(body, status_code=status, headers=retry_header(status))

    return router
