"""Decoding must not thrash torch's allocator on a GPU: segments that can grow, set in time."""

import bisect
import os
import subprocess
import sys

from wagle.experiment.model_shape import SHAPES
from wagle.runtime.identity import ROOT

SHAPE = SHAPES["meta-llama/Llama-2-7b-hf"]
MIB = 1 << 20
CARD, WEIGHTS = 80e9, 2 * SHAPE.parameters


class FixedSegments:
    """Large blocks of torch's caching allocator (c10/cuda/CUDACachingAllocator.cpp), by default.

    A block goes into the smallest free block that holds it. Only neighbours in one segment merge,
    so here, where each segment is one block, none do. Where the card is full, all free segments
    are given back, which waits for the GPU.
    """

    def __init__(self, capacity: float):
        self.capacity, self.reserved, self.flushes, self.free = capacity, 0, 0, []

    def allocate(self, size: int) -> int:
        """Size of the block that a tensor of `size` bytes gets."""
        place = bisect.bisect_left(self.free, size)
        if place < len(self.free) and self.free[place] - size <= MIB:
            return self.free.pop(place)
        segment = -(-size // (2 * MIB)) * 2 * MIB
        if self.reserved + segment > self.capacity:
            self.reserved -= sum(self.free)
            self.free.clear()
            self.flushes += 1
            assert self.reserved + segment <= self.capacity, "out of memory"
        self.reserved += segment
        return segment

    def release(self, block: int) -> None:
        bisect.insort(self.free, block)


def decode(allocator: FixedSegments, rows: int, prompt: int, new: int) -> None:
    """A growing cache: in each step keys and values of each layer are copied, one token longer."""
    token = 2 * SHAPE.kv * rows  # bytes of the keys, or the values, of one layer
    cache = [allocator.allocate(prompt * token) for _ in range(2 * SHAPE.layers)]
    for length in range(prompt + 1, prompt + new + 1):
        for i, old in enumerate(cache):
            cache[i] = allocator.allocate(length * token)
            allocator.release(old)


def test_a_growing_cache_flushes_fixed_segments_again_and_again():
    """Why the setting is needed: paper-tofu's decoding, 238 rows, of which the card holds all."""
    rows, prompt, new = 238, 75, 200
    assert WEIGHTS + 2 * SHAPE.layers * 2 * SHAPE.kv * rows * (prompt + new) < 0.7 * CARD
    allocator = FixedSegments(CARD - WEIGHTS)
    decode(allocator, rows, prompt, new)
    assert allocator.flushes > 50


def test_the_allocator_is_set_before_torch_is_loaded_and_a_users_own_setting_stands():
    program = (
        "import os, sys; from wagle.runtime.warm import hand_over; hand_over();"
        "assert 'torch' not in sys.modules;"
        "print(os.environ.get('PYTORCH_ALLOC_CONF'), os.environ.get('PYTORCH_CUDA_ALLOC_CONF'))"
    )
    env = {k: v for k, v in os.environ.items() if "ALLOC_CONF" not in k and k != "WAGLE_WARM"}
    for own, printed in (
        ({}, "expandable_segments:True None"),
        ({"PYTORCH_CUDA_ALLOC_CONF": "backend:native"}, "None backend:native"),
    ):
        command = [sys.executable, "-c", program]
        done = subprocess.run(
            command, env=env | own, cwd=ROOT, capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() == printed
