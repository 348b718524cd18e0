"""Memory that is freed stays with the process: the next step takes it again without the kernel's help."""

import ctypes
import os
import platform
from collections.abc import MutableMapping

SWITCH = "SEGKIT_KEEP_PAGES"
"""Environment variable; 0 leaves the allocator as it is."""

TRIM_THRESHOLD, TOP_PAD, MMAP_THRESHOLD = -1, -2, -3
"""Parameters of mallopt, from glibc's malloc.h."""

LARGEST, PAD = 1 << 30, 16 << 20
"""Bytes from which on a block has a mapping of its own, and by how much more than it need the heap grows."""

VARIABLES = {
    "MALLOC_MMAP_THRESHOLD_": str(LARGEST),
    "MALLOC_TRIM_THRESHOLD_": str((1 << 63) - 1),
    "MALLOC_TOP_PAD_": str(PAD),
}
"""The same in the environment, for processes that do not start as copies of this one."""


def keep_pages(environment: MutableMapping[str, str] = os.environ) -> bool:
    """Tells glibc's malloc to keep freed memory; the commands call it before anything else.

    As it is, malloc gives blocks of some MiB back to the kernel when they are freed, which clears every page anew for
    the next block: a step of a training frees all of its maps. Kept, its peak stays with the process until it ends.
    Nothing happens where the C library is another one (musl, macOS, Windows), where the allocator is set already by
    its own variables, MALLOC_... or LD_PRELOAD, and where SEGKIT_KEEP_PAGES=0.

    Args:
        environment: gets the variables that processes started later read.

    Returns:
        Whether memory is kept.
    """
    is_set = any(environment.get(name) for name in (*VARIABLES, "GLIBC_TUNABLES", "LD_PRELOAD"))
    if environment.get(SWITCH) == "0" or is_set or platform.libc_ver()[0] != "glibc":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    # -1 is the largest number: the heap's end is never given back. Older versions refuse mappings as large as LARGEST
    is_kept = bool(mallopt(MMAP_THRESHOLD, LARGEST) or mallopt(MMAP_THRESHOLD, 32 << 20))
    is_kept = bool(mallopt(TRIM_THRESHOLD, -1)) and bool(mallopt(TOP_PAD, PAD)) and is_kept
    if is_kept:
        environment.update(VARIABLES)
    return is_kept
