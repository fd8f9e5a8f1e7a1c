"""A manifest says the truth or is refused: flipped bytes, files outside of its directory, any JSON."""

from __future__ import annotations

import json
import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine import DataError, Dataset, Manifest, ingest
from engine.dataset.manifest import MANIFEST_NAME, VERSION


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    path = tmp_path_factory.mktemp("manifest")
    pq.write_table(pa.table({"x": list(range(10)), "s": [str(i) for i in range(10)]}), path / "source.parquet")
    ingest(path / "source.parquet", path / "out", num_shards=2)
    return path / "out"


def load(out, data: bytes):
    path = str(out.parent / "changed.json")
    with open(path, "wb") as file:
        file.write(data)
    return Manifest.load(path)


def test_every_flipped_byte_is_found_or_changes_nothing(out):
    text = (out / MANIFEST_NAME).read_bytes()
    whole = load(out, text)
    for place in range(len(text)):
        for bit in (1, 16):
            data = bytearray(text)
            data[place] ^= bit
            try:
                found = load(out, bytes(data))
            except DataError:
                continue
            assert found == whole and found.hash == whole.hash, (place, bytes(data[place - 20 : place + 20]))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(data=st.data())
def test_no_json_makes_anything_but_a_manifest_or_a_data_error(out, data):
    value = json.loads((out / MANIFEST_NAME).read_text())
    place = value
    for _ in range(data.draw(st.integers(0, 4))):
        keys = list(place) if isinstance(place, dict) else list(range(len(place))) if isinstance(place, list) else []
        if not keys:
            break
        key = data.draw(st.sampled_from(keys))
        if data.draw(st.booleans()):
            place[key] = data.draw(json_values)
            break
        place = place[key]
    if data.draw(st.booleans()):
        value["version"] = 1
        value.pop("digest", None)
    try:
        manifest = load(out, json.dumps(value).encode())
    except DataError:
        return
    assert manifest.num_records == sum(entry.records for entry in manifest.files)
    assert all(block.records >= 0 for entry in manifest.files for block in entry.blocks)


@pytest.mark.parametrize("data", [b"", b"\xff", b"[" * 100000, b"null", b"{}", b'{"format": "fullpass-manifest"}'])
def test_what_is_no_manifest_is_refused(out, data):
    with pytest.raises(DataError, match="is not a Fullpass manifest"):
        load(out, data)


def test_a_manifest_of_the_first_version_is_read(out):
    value = json.loads((out / MANIFEST_NAME).read_text())
    assert value["version"] == VERSION == 2
    value["version"] = 1
    del value["digest"]
    assert load(out, json.dumps(value).encode()).num_records == 10


@pytest.mark.parametrize(
    "name", ["/etc/hostname", "../secret.parquet", "a/../../secret.parquet", "file:///etc/hostname"]
)
def test_a_manifest_that_was_found_cannot_point_outside_its_directory(tmp_path, name):
    pq.write_table(pa.table({"x": [1]}), tmp_path / "secret.parquet")
    directory = tmp_path / "data"
    os.makedirs(directory)
    pq.write_table(pa.table({"x": [1]}), directory / "a.parquet")
    manifest = Dataset.open(str(directory)).manifest
    foreign = Manifest(tuple(entry for entry in manifest.files), manifest.schema).to_json(str(directory))
    foreign["files"][0]["path"] = name
    del foreign["digest"]
    foreign["version"] = 1
    (directory / MANIFEST_NAME).write_text(json.dumps(foreign))
    for form in (str(directory), str(directory / "*.parquet"), str(directory / "a.parquet")):
        with pytest.raises(DataError, match="lies outside of its directory"):
            Dataset.open(form)
    assert Manifest.load(str(directory / MANIFEST_NAME)).files  # opened by its own name it may
