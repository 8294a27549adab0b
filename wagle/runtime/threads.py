"""Threads over pieces of a tensor, in place of torch's own: a piece goes through many operations while it is in the cache.

Notable: numpy and torch let other threads run during their loops. torch's own threads are off meanwhile, or they would
multiply with these. Results come in order, and only a few wait to be taken: those of a large tensor would take as much memory
again as the tensor's masks.
"""

import contextlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

import torch

PIECE, GPU_PIECE = 1 << 18, 1 << 26  # elements: 1 MB and 256 MB of fp32


class Pool(ThreadPoolExecutor):
    """A pool of threads whose map() begins at most two items a thread ahead of what was taken."""

    def __init__(self, threads: int):
        super().__init__(threads)
        self.threads = threads

    def map(self, function: Callable, items: Iterable) -> Iterator:
        waiting = deque()
        for item in items:
            if len(waiting) == 2 * self.threads:
                yield waiting.popleft().result()
            waiting.append(self.submit(function, item))
        while waiting:
            yield waiting.popleft().result()


@contextlib.contextmanager
def workers() -> Iterator[Pool]:
    """A pool of as many threads as torch has; torch's own number is put back at the end."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with Pool(threads) as pool:
            yield pool
    finally:
        torch.set_num_threads(threads)


def pieces(*tensors: torch.Tensor) -> Iterator[tuple[torch.Tensor, ...]]:
    """Flat views of the same places in contiguous tensors of one size."""
    size = GPU_PIECE if tensors[0].is_cuda else PIECE
    return zip(*(tensor.view(-1).split(size) for tensor in tensors), strict=True)
