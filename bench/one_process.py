"""The peer of `get_job`: FastAPI and PyMongo in one process, `python -m bench.one_process PORT`.

It reads the same document of the same mongod, builds the same `Job`, and answers with the same bytes;
uvicorn runs it with the settings of the gateway.
"""

import asyncio
import sys

import uvicorn
from fastapi import FastAPI, Response

from tunedeck_chassis import mongo
from tunedeck_contracts.errors import NotFound
from tunedeck_contracts.jobs import Job
from tunedeck_jobs.repository import JobRepository
from tunedeck_jobs.settings import JobsSettings


def create_app(settings: JobsSettings) -> FastAPI:
    """One route."""
    app = FastAPI()
    jobs = JobRepository(mongo.connect(settings), settings.jobs_database)

    @app.get("/api/jobs/{uid}", response_model=Job)
    async def get(uid: str) -> Response:
        record = await jobs.get(uid)
        if record is None:
            reply = NotFound(f"There is no job {uid!r}.").reply()
            return Response(reply.to_json(), reply.status_code, media_type="application/json")
        return Response(record.job.to_json(), media_type="application/json")

    return app


def main() -> None:
    """Serve on loopback until a signal."""
    config = uvicorn.Config(
        create_app(JobsSettings()),
        port=int(sys.argv[1]),
        log_config=None,
        access_log=False,
        server_header=False,
    )
    asyncio.run(uvicorn.Server(config).serve())


if __name__ == "__main__":
    main()
