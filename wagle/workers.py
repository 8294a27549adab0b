"""Threads over pieces of a tensor, in place of torch's own: a piece goes through many operations while it is in the cache.

Notable: numpy and torch let other threads run during their loops. torch's own threads are off meanwhile, or they would
multiply with these. Results come in order.
"""

import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import torch

PIECE, GPU_PIECE = 1 << 18, 1 << 26  # elements: 1 MB and 256 MB of fp32


@contextlib.contextmanager
def workers() -> Iterator[ThreadPoolExecutor]:
    """A pool of as many threads as torch has; torch's own number is put back at the end."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(threads) as pool:
            yield pool
    finally:
        torch.set_num_threads(threads)


def pieces(*tensors: torch.Tensor) -> Iterator[tuple[torch.Tensor, ...]]:
    """Flat views of the same places in contiguous tensors of one size."""
    size = GPU_PIECE if tensors[0].is_cuda else PIECE
    return zip(*(tensor.view(-1).split(size) for tensor in tensors), strict=True)
