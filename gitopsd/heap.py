"""What a long-lived process keeps of a moment's work."""

from __future__ import annotations

import ctypes
import gc


def give_back() -> None:
    """Return freed memory to the system: a first deploy of thousands of objects leaves most of its heap free, and the C
    library keeps it. Takes some tens of milliseconds. Does nothing where that library is not glibc (malloc_trim(3))."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
