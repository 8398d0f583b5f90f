"""`/api/models`."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response

from tunedeck_contracts import rpc
from tunedeck_contracts.models import AddModel, FoundModel, ListModels, SearchModels
from tunedeck_gateway.bridge import Gateway, answer, documented, gateway_of

router = APIRouter(prefix="/api/models", tags=["Models"])
Here = Annotated[Gateway, Depends(gateway_of)]


@router.get("", **documented(rpc.MODEL_LIST))
async def list_models(gateway: Here) -> Response:
    """Every model of the collection."""
    return await answer(gateway, rpc.MODEL_LIST, ListModels())


@router.get("/search", **{**documented(rpc.MODEL_SEARCH), "response_model": list[FoundModel]})
async def search(
    gateway: Here,
    query: Annotated[str, Query(min_length=2, max_length=200, description="What to look for.")],
    limit: Annotated[int, Query(ge=1, le=100, description="Most results.")] = 10,
) -> Response:
    """Search the Hugging Face Hub; 503 with the reason when it cannot be reached."""
    return await answer(gateway, rpc.MODEL_SEARCH, SearchModels(query=query, limit=limit))


@router.post("", **documented(rpc.MODEL_ADD, 400, 409))
async def add(gateway: Here, model: AddModel) -> Response:
    """Add a model to the collection."""
    return await answer(gateway, rpc.MODEL_ADD, model)
