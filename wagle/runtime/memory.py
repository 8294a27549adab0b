"""Keeps the memory that one training step frees for the next one.

glibc returns large freed blocks to the system and gets them again at the next step, page by page
and zeroed. That is a tenth of the time of a training step on a CPU; keeping them costs 5 % more
memory (docs/performance.md).

Notable: only training asks for it. Decoding, whose blocks grow, gets slower by it.

Left out: other C libraries, which stay as they are.
"""

import ctypes

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # glibc's malloc.h


def keep_freed() -> bool:
    """From now on this process returns no freed memory to the system.

    Returns False where the allocator is not glibc's, or refuses.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(M_MMAP_MAX, 0) and mallopt(M_TRIM_THRESHOLD, 2**31 - 1))
