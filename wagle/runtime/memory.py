"""Keep the memory that one training step frees for the next one.

glibc gives large blocks back to the system when they are freed, and gets them again at the next step, page by page and zeroed: a
tenth of the time of a training step on a CPU, for 5 % more memory (docs/performance.md). Decoding, whose blocks grow, gets slower
by it, so only training asks for it. Left out: other C libraries, which are left as they are.
"""

import ctypes

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # glibc's malloc.h


def keep_freed() -> bool:
    """From now on this process returns nothing to the system; False where the allocator is not glibc's or refuses."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(M_MMAP_MAX, 0) and mallopt(M_TRIM_THRESHOLD, 2**31 - 1))
