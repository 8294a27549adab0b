"""Threads over pieces of a tensor, in place of torch's own.

A piece goes through many operations while it is in the cache; numpy and torch let other threads run
meanwhile. Results come in order.

Notable: torch's own threads are off meanwhile, or they would multiply with these. Only a few
results wait to be taken: those of a large tensor would need as much memory as its masks.
"""

import contextlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

import torch

PIECE, GPU_PIECE = 1 << 18, 1 << 24  # elements: 1 MB and 64 MB of fp32; multiples of 8


class Pool(ThreadPoolExecutor):
    """A pool whose map() starts at most two items per thread ahead of what was taken."""

    def __init__(self, threads: int):
        super().__init__(threads)
        self.threads = threads

    def map(self, function: Callable, items: Iterable) -> Iterator:
        """function(item) of each of `items`, in order."""
        pending = deque()
        for item in items:
            if len(pending) == 2 * self.threads:
                yield pending.popleft().result()
            pending.append(self.submit(function, item))
        while pending:
            yield pending.popleft().result()


@contextlib.contextmanager
def workers() -> Iterator[Pool]:
    """A pool of as many threads as torch has; torch has only one itself inside the `with` block."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with Pool(threads) as pool:
            yield pool
    finally:
        torch.set_num_threads(threads)


def pieces(*tensors: torch.Tensor) -> Iterator[tuple[torch.Tensor, ...]]:
    """Flat views of the same positions in contiguous tensors with equally many elements."""
    size = piece_size(tensors[0])
    return zip(*(tensor.view(-1).split(size) for tensor in tensors), strict=True)


def piece_size(tensor: torch.Tensor) -> int:
    """Number of elements of a piece of `tensor`."""
    return GPU_PIECE if tensor.is_cuda else PIECE
