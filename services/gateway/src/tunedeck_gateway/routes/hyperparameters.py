"""`/api/hyperparameters`."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Response

from tunedeck_contracts import rpc
from tunedeck_contracts.hyperparameters import LONGEST_UID
from tunedeck_contracts.job_lists import GetBestHyperparameters
from tunedeck_contracts.presets import GetHyperparameters, ListPresets, SavePreset
from tunedeck_gateway.bridge import Gateway, answer, documented, gateway_of

router = APIRouter(prefix="/api/hyperparameters", tags=["Hyperparameters"])
Here = Annotated[Gateway, Depends(gateway_of)]
Uid = Annotated[
    str,
    Path(
        min_length=1,
        max_length=LONGEST_UID,
        description="A reversible uid of settings.",
        examples=["hp181sshfuwwaec88hl"],
    ),
]


@router.get("", **documented(rpc.HYPERPARAMETERS_LIST))
async def list_presets(gateway: Here) -> Response:
    """Presets: the built-in ones, then those saved last."""
    return await answer(gateway, rpc.HYPERPARAMETERS_LIST, ListPresets())


@router.post("", **documented(rpc.HYPERPARAMETERS_SAVE, 404, 409))
async def save_preset(gateway: Here, preset: SavePreset) -> Response:
    """Save settings under a name, in place of what was saved under it; built-in names are taken."""
    return await answer(gateway, rpc.HYPERPARAMETERS_SAVE, preset)


@router.get("/best", **documented(rpc.HYPERPARAMETERS_BEST, 404))
async def best_hyperparameters(gateway: Here, wanted: Annotated[GetBestHyperparameters, Query()]) -> Response:
    """The settings of the completed job with the lowest validation loss."""
    return await answer(gateway, rpc.HYPERPARAMETERS_BEST, wanted)


@router.get("/{uid}", **documented(rpc.HYPERPARAMETERS_GET, 404))
async def get_hyperparameters(gateway: Here, uid: Uid) -> Response:
    """The settings that a uid stands for, with the name under which they were saved first, if they were."""
    return await answer(gateway, rpc.HYPERPARAMETERS_GET, GetHyperparameters(uid=uid))
