"""Importing torch, transformers and peft is half a million objects, none of which ever goes.

The collector walks all of them again and again meanwhile, a fifth of the time, and at each full collection
of the training after.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """What is made in here the collector leaves alone, now and later."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
