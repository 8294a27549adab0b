"""A tiny model, its tokenizer and a few rows, shared by tests that need a real forward pass."""

import copy
import os

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("WAGLE_WARM", "0")

import pytest
import torch

from wagle.data import synthetic
from wagle.model import checkpoints

torch.set_num_threads(1)
TEMPLATE = "[INST] {question} [/INST] {answer}"
EVALUATED = ("forget_perturbed", "retain_perturbed", "real_authors", "world_facts")
SIZE = {"hidden_size": 16, "intermediate_size": 24, "layers": 2, "heads": 2, "vocab_size": 400}


def pytest_collection_modifyitems(items):
    """With several processes the slowest files start first: whatever is last runs alone."""

    def minutes(item):
        mark = item.get_closest_marker("slow")
        return mark.args[0] if mark else 0

    items.sort(key=minutes, reverse=True)


@pytest.fixture(scope="session")
def rows():
    return {
        role: synthetic.split(role, 6, 2, 0)
        for role in ("forget", "retain", "forget_perturbed", "retain_perturbed")
    }


@pytest.fixture(scope="session")
def _tiny(rows):
    corpus = [f"{row['question']} {row['answer']}" for row in rows["forget"] + rows["retain"]]
    return checkpoints.scratch(SIZE, corpus, seed=0)


@pytest.fixture
def tokenizer(_tiny):
    return _tiny[1]


@pytest.fixture
def model(_tiny):
    """A fresh copy for each test, in evaluation mode."""
    return copy.deepcopy(_tiny[0]).eval()


@pytest.fixture
def checkpoint(model, tokenizer, tmp_path):
    checkpoints.save(model, tokenizer, tmp_path / "checkpoint")
    return tmp_path / "checkpoint"


@pytest.fixture
def encoded(tokenizer, rows):
    from wagle.data.encoding import encode_rows

    return {
        role: encode_rows(tokenizer, rows[role], template=TEMPLATE, max_length=128)
        for role in ("forget", "retain")
    }
