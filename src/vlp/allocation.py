"""How the C library treats memory that was freed: in training it is soon wanted again.

glibc gives a large block back to the system as soon as it is freed, and takes it anew, page by page and zeroed, a
moment later. A step of training frees and takes the same blocks each time: that is up to a tenth of its time.

Source: https://man7.org/linux/man-pages/man3/mallopt.3.html
"""

from __future__ import annotations

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_LARGEST = 2**31 - 1  # that mallopt's int holds
_GIB = 2**30


def keep_freed_memory() -> bool:
    """From now on this process keeps what it frees, blocks of a gigabyte and more excepted, until it ends.

    For processes that do the same again and again, at their peak's cost for all of their time.

    Returns:
        Whether the C library took it: other systems' allocators keep theirs their own way.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    return mallopt is not None and bool(mallopt(_MMAP_THRESHOLD, _GIB)) and bool(mallopt(_TRIM_THRESHOLD, _LARGEST))
