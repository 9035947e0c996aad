import hashlib
import json
import struct

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save as plain_safetensors

from metarobot.io import load_tensors, parse_tensors, save_tensors

SHAPES = {"a": (2, 3), "b": (4,)}
TENSORS = {
    name: torch.arange(24.0)[: torch.Size(s).numel()].reshape(s) for name, s in SHAPES.items()
}


@pytest.fixture
def path(tmp_path):
    save_tensors(tmp_path / "x.safetensors", TENSORS, {"iteration": 3, "name": "Grip"})
    return tmp_path / "x.safetensors"


def sealed_bytes(folder):
    file = folder / "sealed"
    save_tensors(file, TENSORS, {"iteration": 3})
    return file.read_bytes()


def test_tensors_and_facts_come_back_bit_for_bit(path):
    tensors, facts = load_tensors(path, SHAPES)
    assert list(tensors) == ["a", "b"]
    assert all(torch.equal(tensors[name], leaf) for name, leaf in TENSORS.items())
    assert facts == {"iteration": 3, "name": "Grip"}


def test_the_same_content_gives_the_same_bytes(path, tmp_path):
    save_tensors(tmp_path / "y", TENSORS, {"iteration": 3, "name": "Grip"})
    assert (tmp_path / "y").read_bytes() == path.read_bytes()


def test_every_single_bit_counts(path):
    """Not a sample: each bit of the file is turned once."""
    data = path.read_bytes()
    for bit in range(8 * len(data)):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << (bit % 8)
        with pytest.raises(ValueError, match="seal is broken"):
            parse_tensors(path, bytes(damaged), SHAPES)


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_damaged_files_are_refused(tmp_path_factory, data):
    whole = sealed_bytes(tmp_path_factory.mktemp("fuzz"))
    start = data.draw(st.integers(0, len(whole)))
    removed = data.draw(st.integers(0, len(whole) - start))
    damaged = whole[:start] + data.draw(st.binary(max_size=64)) + whole[start + removed :]
    if damaged != whole:
        with pytest.raises(ValueError, match="seal is broken") as error:
            parse_tensors("x", damaged, SHAPES)
        assert "\n" not in str(error.value)


def test_a_plain_safetensors_file_and_a_pickle_have_no_seal(path):
    for content in (plain_safetensors(TENSORS), b"\x80\x04K\x01.", b"", struct.pack("<Q", 2**62)):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="seal is broken"):
            load_tensors(path, SHAPES)


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ({"a": (2, 3)}, "'b' is too many"),
        ({**SHAPES, "c": (1,)}, "it lacks c"),
        ({**SHAPES, "b": (5,)}, r"b is F32 \(4,\), must be F32 \(5,\)"),
        ({**SHAPES, "b": (4, 1)}, "must be F32"),
        ({**SHAPES, "b": (-1, -1)}, "must be F32"),
    ],
)
def test_other_tensors_are_refused_before_they_are_read(path, shapes, message):
    with pytest.raises(ValueError, match=message):
        load_tensors(path, shapes)


def test_lengths_that_are_not_known(path):
    tensors, _ = load_tensors(path, {"a": (-1, 3), "b": (-1,)})
    assert torch.equal(tensors["b"], TENSORS["b"])


def test_other_types_are_refused(path):
    save_tensors(path, {**TENSORS, "b": TENSORS["b"].double()}, {})
    with pytest.raises(ValueError, match="b is F64"):
        load_tensors(path, SHAPES)


def test_types_that_are_asked_for_come_back_bit_for_bit(path):
    double = TENSORS["b"].double() / 3
    save_tensors(path, {**TENSORS, "b": double}, {})
    tensors, _ = load_tensors(path, SHAPES, {"a": torch.float32, "b": torch.float64})
    assert torch.equal(tensors["b"], double)
    with pytest.raises(ValueError, match=r"a is F32 .*, must be F64"):
        load_tensors(path, SHAPES, {"a": torch.float64, "b": torch.float64})


def test_a_type_that_could_not_be_read_is_not_written(path):
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"b must be float32 or float64 to be saved: got .*int64"):
        save_tensors(path, {**TENSORS, "b": TENSORS["b"].long()}, {})
    assert path.read_bytes() == before


def test_a_file_is_not_read_where_it_is_too_long(path, monkeypatch):
    with path.open("r+b") as file:
        file.truncate(10**9)  # a hole, which takes no space
    monkeypatch.setattr("pathlib.Path.read_bytes", lambda self: pytest.fail("was read"))
    with pytest.raises(ValueError, match="at most"):
        load_tensors(path, SHAPES)


def test_facts_that_json_cannot_hold_are_refused_before_anything_is_written(path):
    before = path.read_bytes()
    with pytest.raises(ValueError, match="JSON"):
        save_tensors(path, TENSORS, {"return": float("nan")})
    assert path.read_bytes() == before


def test_the_seal_of_a_header_that_was_made_by_hand(path):
    """A header with a list for its metadata, and so on: refused, whatever is in it."""
    for header in ([], {}, {"__metadata__": 3}, {"__metadata__": {"sha256": 3}}):
        text = json.dumps(header).encode()
        path.write_bytes(struct.pack("<Q", len(text)) + text)
        with pytest.raises(ValueError, match="seal is broken"):
            load_tensors(path, SHAPES)


def test_a_key_that_stands_twice_is_refused(path):
    """Readers disagree on which one counts, so that the seal would not say what is read."""
    data = path.read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    header, tensors = data[8 : 8 + length].decode(), data[8 + length :]
    entry = json.dumps(json.loads(header)["b"])
    for text in (header.replace('"b":', f'"b":{entry},"b":', 1), header[:-1] + f',"a":{entry}}}'):
        seal = json.loads(json.loads(header)["__metadata__"]["metarobot"])["sha256"]
        blank = text.replace(seal, "0" * 64, 1).encode()
        blank = struct.pack("<Q", len(blank)) + blank + tensors
        digest = hashlib.sha256(blank).hexdigest().encode()
        path.write_bytes(blank.replace(b"0" * 64, digest, 1))
        with pytest.raises(ValueError, match="seal is broken"):
            load_tensors(path, SHAPES)
