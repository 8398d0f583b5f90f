"""Files of models that are too small to train, for what only reads about them. No torch."""

import json
from typing import Any

from tests.support.hub_models import Files


def safetensors(shape: list[int]) -> bytes:
    """A safetensors file with one tensor of zeros, F32."""
    count = 1
    for size in shape:
        count *= size
    tensor = {"dtype": "F32", "shape": shape, "data_offsets": [0, 4 * count]}
    header = json.dumps({"weight": tensor}).encode()
    return len(header).to_bytes(8, "little") + header + bytes(4 * count)


def model_files(shape: list[int] | None = None, **config: Any) -> Files:
    """config.json and weights of `shape`."""
    return {
        "config.json": json.dumps(config).encode(),
        "model.safetensors": safetensors(shape or [1000, 4000]),
    }
