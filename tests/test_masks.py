"""The mask file: bit order, round trip, header; broken files are refused."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from wagle.attribution import masks
from wagle.errors import WagleError

HEADER = {
    "selection": "wagle",
    "ratio": "0.5",
    "gamma": "1e-06",
    "ties": "flat-index",
    "scores_sha256": "a",
    "model_sha256": "b",
}


def write(path, masks_by_name):
    shapes = {name: list(mask.shape) for name, mask in masks_by_name.items()}
    k = sum(int(mask.sum()) for mask in masks_by_name.values())
    [counts] = masks.save(
        [path],
        shapes,
        ((name, [masks.pack(mask)]) for name, mask in masks_by_name.items()),
        [HEADER | {"k": k}],
    )
    return counts


def test_bit_j_of_byte_i_is_flat_index_8i_plus_j():
    mask = torch.zeros(11, dtype=torch.bool)
    mask[[0, 3, 9]] = True
    assert masks.pack(mask).bits.tolist() == [0b00001001, 0b00000010]


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 9)), min_size=1, max_size=4),
    st.integers(0, 99),
)
def test_round_trip(tmp_path_factory, shapes, seed):
    generator = torch.Generator().manual_seed(seed)
    by_name = {
        f"p{i}": torch.rand(shape, generator=generator) < 0.5 for i, shape in enumerate(shapes)
    }
    path = tmp_path_factory.mktemp("mask") / "mask.safetensors"
    counts = write(path, by_name)
    loaded = dict(masks.load(path))
    assert list(loaded) == list(by_name)
    assert all(torch.equal(loaded[name], by_name[name]) for name in by_name)
    assert counts == {name: int(mask.sum()) for name, mask in by_name.items()}
    header = masks.read_header(path)
    assert header["n"] == sum(mask.numel() for mask in by_name.values())
    assert header["selection"] == "wagle" and header["ties"] == "flat-index"


def test_same_mask_gives_same_bytes(tmp_path):
    by_name = {"b": torch.ones(3, dtype=torch.bool), "a": torch.zeros(9, dtype=torch.bool)}
    write(tmp_path / "one", by_name)
    write(tmp_path / "two", by_name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_readable_by_any_safetensors_reader(tmp_path):
    from safetensors.torch import load_file

    mask = torch.rand(4, 5) < 0.5
    write(tmp_path / "mask.safetensors", {"w": mask})
    bits = np.unpackbits(load_file(tmp_path / "mask.safetensors")["w"].numpy(), bitorder="little")[
        :20
    ]
    assert (bits.reshape(4, 5).astype(bool) == mask.numpy()).all()


def test_wrong_k_is_refused(tmp_path):
    with pytest.raises(WagleError, match="exactly 3"):
        masks.save(
            [tmp_path / "m"],
            {"w": [4]},
            [("w", [masks.pack(torch.ones(4, dtype=torch.bool))])],
            [HEADER | {"k": 3}],
        )


def test_several_masks_in_one_pass_are_the_files_of_one_each(tmp_path):
    generator = torch.Generator().manual_seed(0)
    shapes = {"a": [3, 5], "b": [8]}
    mask_sets = [
        {name: torch.rand(shape, generator=generator) < share for name, shape in shapes.items()}
        for share in (0.2, 0.7)
    ]
    for i, mask_set in enumerate(mask_sets):
        write(tmp_path / f"alone{i}", mask_set)
    headers = [
        HEADER | {"k": sum(int(mask.sum()) for mask in mask_set.values())} for mask_set in mask_sets
    ]
    together = ((name, [masks.pack(mask_set[name]) for mask_set in mask_sets]) for name in shapes)
    masks.save([tmp_path / "both0", tmp_path / "both1"], shapes, together, headers)
    for i in range(2):
        assert (tmp_path / f"both{i}").read_bytes() == (tmp_path / f"alone{i}").read_bytes()


def test_flipped_bits_are_refused(tmp_path):
    path = tmp_path / "mask.safetensors"
    write(path, {"w": torch.ones(12, dtype=torch.bool)})
    whole = bytearray(path.read_bytes())
    whole[-1] ^= 0b10000000  # beyond the twelfth weight
    path.write_bytes(whole)
    with pytest.raises(WagleError, match="beyond"):
        dict(masks.load(path))
    whole[-1] ^= 0b10000001  # one weight fewer
    path.write_bytes(whole)
    with pytest.raises(WagleError, match="11 weights selected"):
        dict(masks.load(path))


@pytest.mark.parametrize(
    "content", [b"", b"\x00" * 7, b"\xff" * 64, b"\x02\x00\x00\x00\x00\x00\x00\x00{}"]
)
def test_garbage_is_refused(tmp_path, content):
    (tmp_path / "m").write_bytes(content)
    with pytest.raises(WagleError, match="not a mask"):
        masks.read_header(tmp_path / "m")
