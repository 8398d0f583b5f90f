"""`/api/metadata` and `/api/job-configuration`."""

from typing import Annotated

from fastapi import APIRouter, Depends, Response

from tunedeck_contracts import rpc
from tunedeck_contracts.workflow import GetJobConfiguration, GetMetadata, MergeMetadata
from tunedeck_gateway.bridge import Gateway, answer, documented, gateway_of

router = APIRouter(prefix="/api", tags=["Workflow"])
Here = Annotated[Gateway, Depends(gateway_of)]


@router.get("/metadata", **documented(rpc.METADATA_GET))
async def get_metadata(gateway: Here) -> Response:
    """What is selected for the next job."""
    return await answer(gateway, rpc.METADATA_GET, GetMetadata())


@router.post("/metadata", **documented(rpc.METADATA_MERGE, 404, 409))
async def merge_metadata(gateway: Here, metadata: MergeMetadata) -> Response:
    """Select or clear a dataset, a model or hyperparameters; keys that are absent stay as they are."""
    return await answer(gateway, rpc.METADATA_MERGE, metadata)


@router.get("/job-configuration", **documented(rpc.JOB_CONFIGURATION_GET))
async def get_job_configuration(gateway: Here) -> Response:
    """The selections resolved, with a `configuration` that `POST /api/jobs` takes as it is."""
    return await answer(gateway, rpc.JOB_CONFIGURATION_GET, GetJobConfiguration())
