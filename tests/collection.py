"""What is freed by its reference count alone, and what only the garbage collector finds."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_collection() -> Iterator[None]:
    """Let nothing be freed inside the block but by its reference count; what was garbage before is gone."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
