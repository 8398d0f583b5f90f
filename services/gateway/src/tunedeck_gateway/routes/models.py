"""`/api/models`."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Response

from tunedeck_contracts import rpc
from tunedeck_contracts.models import (
    AddModel,
    CheckModel,
    FoundModel,
    GetModel,
    ListModels,
    RemoveModel,
    SearchModels,
)
from tunedeck_gateway.bridge import Gateway, answer, documented, gateway_of

router = APIRouter(prefix="/api/models", tags=["Models"])
Here = Annotated[Gateway, Depends(gateway_of)]
ModelId = Annotated[
    str,
    Path(
        description="A model's id by the Hub's rule: `name` or `owner/name`; the slash may be `%2F`.",
        examples=["HuggingFaceTB/SmolLM2-135M-Instruct"],
    ),
]


@router.get("", **documented(rpc.MODEL_LIST))
async def list_models(gateway: Here) -> Response:
    """Every model of the collection."""
    return await answer(gateway, rpc.MODEL_LIST, ListModels())


@router.get("/search", **{**documented(rpc.MODEL_SEARCH), "response_model": list[FoundModel]})
async def search_models(
    gateway: Here,
    query: Annotated[str, Query(min_length=2, max_length=200, description="What to look for.")],
    limit: Annotated[int, Query(ge=1, le=100, description="Most results.")] = 10,
) -> Response:
    """Search the Hugging Face Hub; 503 with the reason when it cannot be reached."""
    return await answer(gateway, rpc.MODEL_SEARCH, SearchModels(query=query, limit=limit))


@router.post("", **documented(rpc.MODEL_ADD, 404, 409))
async def add_model(gateway: Here, model: AddModel) -> Response:
    """Add a model to the collection."""
    return await answer(gateway, rpc.MODEL_ADD, model)


@router.get("/check/{model_id:path}", **documented(rpc.MODEL_CHECK, 422))
async def check_model(gateway: Here, model_id: ModelId) -> Response:
    """Whether the collection has a model."""
    return await answer(gateway, rpc.MODEL_CHECK, CheckModel(id=model_id))


@router.get("/{model_id:path}", **documented(rpc.MODEL_GET, 404, 422))
async def get_model(gateway: Here, model_id: ModelId) -> Response:
    """One model of the collection."""
    return await answer(gateway, rpc.MODEL_GET, GetModel(id=model_id))


@router.delete("/{model_id:path}", **documented(rpc.MODEL_REMOVE, 404, 422))
async def remove_model(gateway: Here, model_id: ModelId) -> Response:
    """Take a model out of the collection; jobs and files stay."""
    return await answer(gateway, rpc.MODEL_REMOVE, RemoveModel(id=model_id))
