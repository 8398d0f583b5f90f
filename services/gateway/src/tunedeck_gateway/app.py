"""Builds the two FastAPI applications: the only place that names the gateway's adapters."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline
from starlette.types import ASGIApp, Lifespan, Receive, Scope, Send

from tunedeck_chassis import mongo
from tunedeck_chassis.blobs import BLOBS_DATABASE, BlobStore
from tunedeck_chassis.broker import create_broker
from tunedeck_chassis.bus import Bus
from tunedeck_chassis.service import started
from tunedeck_gateway import errors, openapi
from tunedeck_gateway.bridge import Gateway
from tunedeck_gateway.correlation import CorrelationMiddleware
from tunedeck_gateway.routes import datasets, hyperparameters, jobs, models, training, uploads, workflow
from tunedeck_gateway.routes.health import API_VERSION, health_routes
from tunedeck_gateway.settings import GatewaySettings

_MAIN_HEALTH = health_routes(
    "CSV Preview API is running",
    "CSV Preview API",
    {"preview": "/api/preview-csv", "health": "/api/health"},
)
_MONITOR_HEALTH = health_routes(
    "Training Monitor API is running",
    "Training Monitor API",
    {"summary": "/api/training/summary", "health": "/api/health"},
)


class PortSwitch:
    """One ASGI application for both ports: which API answers is told by the port that was asked."""

    def __init__(self, main: FastAPI, monitor: FastAPI, monitor_port: int) -> None:
        self.main = main
        self.monitor = monitor
        self._monitor_port = monitor_port

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand the connection on; the lifespan is the main API's."""
        asked = scope.get("server") or ("", 0)
        app: ASGIApp = self.monitor if asked[1] == self._monitor_port else self.main
        await app(scope, receive, send)


def create_app(settings: GatewaySettings, monitor_port: int) -> PortSwitch:
    """The main API and the training monitor over one connection to the bus."""
    client = mongo.connect(settings)
    broker = create_broker(settings, "gateway")
    gateway = Gateway(
        settings, Bus(broker), BlobStore(client[BLOBS_DATABASE]), partial(mongo.problem, client)
    )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with started(broker, gateway.blobs.prepare):
            yield
        await client.close()

    main = _api("Tunedeck", lifespan)
    for router in (
        _MAIN_HEALTH,
        models.router,
        datasets.router,
        uploads.router,
        hyperparameters.router,
        workflow.router,
        jobs.router,
        training.router,
    ):
        main.include_router(router)
    monitor = _api("Tunedeck training monitor", None)
    for router in (_MONITOR_HEALTH, training.router):
        monitor.include_router(router)
    for app in (main, monitor):
        app.state.gateway = gateway
        openapi.complete(app)
    return PortSwitch(main, monitor, monitor_port)


def _api(title: str, lifespan: Lifespan[FastAPI] | None) -> FastAPI:
    app = FastAPIOffline(
        title=title,
        description=openapi.ABOUT,
        version=API_VERSION,
        lifespan=lifespan,
        generate_unique_id_function=lambda route: route.name,
        static_url="/docs/assets",
        redoc_url=None,
    )
    app.add_middleware(CorrelationMiddleware)
    errors.install(app)
    return app
