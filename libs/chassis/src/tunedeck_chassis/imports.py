"""What is imported never goes, and is many objects: half a million with torch, transformers and peft.

The collector walks all of them again and again meanwhile, a tenth to a fifth of the time that a process takes
to start, and at each full collection after.
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
