"""The peer of `get_job`: FastAPI and PyMongo in one process, `python -m bench.one_process PORT`.

It asks for the same API key (hashed, looked up in the same mongod, cached as long), reads the same
document, builds the same `Job`, and answers with the same bytes; uvicorn runs it with the gateway's loop
and parser.
"""

import sys
from typing import Annotated

import uvicorn
import uvloop
from fastapi import Depends, FastAPI, Request, Response

from tunedeck_chassis import mongo
from tunedeck_contracts.errors import ErrorReply, NotFound, TunedeckError
from tunedeck_contracts.jobs import Job
from tunedeck_gateway.access.keys import Keys
from tunedeck_gateway.access.repository import KeyRepository
from tunedeck_gateway.settings import GatewaySettings
from tunedeck_jobs.repository.jobs import JobRepository
from tunedeck_jobs.settings import JobsSettings

JSON = "application/json"


def create_app() -> FastAPI:
    """One route."""
    app = FastAPI()
    settings = JobsSettings()
    gateway = GatewaySettings(mongo_user="gateway", secrets_dir=settings.secrets_dir.parent / "gateway")
    jobs = JobRepository(mongo.connect(settings), settings.jobs_database)
    keys = Keys(KeyRepository(mongo.connect(gateway), gateway.gateway_database), gateway.key_cache_seconds)

    async def key_id(request: Request) -> str:
        return (await keys.authenticate(request.headers.get("authorization"))).id

    @app.exception_handler(TunedeckError)
    async def failed(_: Request, error: TunedeckError) -> Response:
        reply: ErrorReply = error.reply()
        return Response(reply.to_json(), reply.status_code, media_type=JSON)

    @app.get("/api/jobs/{uid}", response_model=Job)
    async def get(uid: str, _: Annotated[str, Depends(key_id)]) -> Response:
        record = await jobs.get(uid)
        if record is None:
            raise NotFound(f"There is no job {uid!r}.")
        return Response(record.job.to_json(), media_type=JSON)

    return app


def main() -> None:
    """Serve on loopback until a signal."""
    config = uvicorn.Config(
        create_app(),
        port=int(sys.argv[1]),
        http="httptools",
        log_config=None,
        access_log=False,
        server_header=False,
    )
    uvloop.run(uvicorn.Server(config).serve())


if __name__ == "__main__":
    main()
