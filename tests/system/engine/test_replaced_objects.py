"""Objects that others of the same length, or longer ones, take the place of: no byte of both, and none of the old one later."""

from __future__ import annotations

import pathlib
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engine import Dataset
from engine.core.errors import DataError
from engine.storage import paths
from engine.storage.remote import RemoteOptions, exists, expand, marks_below, open_input, open_output, stat, use_options
from engine.storage.tree import for_tensorflow, list_tree
from tests.support.servers.gs import environment_of_gs, gs_server
from tests.support.servers.s3 import environment_of, s3_server

BLOCKS = RemoteOptions(attempts=2, backoff_s=0.01, block_bytes=64 << 10, read_ahead_blocks=0)
SIZE = 300_000


@pytest.fixture(scope="module")
def server():
    with s3_server() as address:
        yield address


@pytest.fixture(scope="module")
def google():
    with gs_server() as address:
        yield address


@pytest.fixture(params=["s3", "gs", "memory"])
def place(request, monkeypatch):
    return at(request.param, request, monkeypatch)


def at(scheme, request, monkeypatch):
    if scheme == "memory":
        return "memory://replaced"
    if scheme == "gs":
        environment = environment_of_gs(request.getfixturevalue("google"))
    else:
        environment = environment_of(request.getfixturevalue("server"))
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return f"{scheme}://data"


def put(uri: str, data: bytes) -> None:
    with open_output(uri) as file:
        file.write(data)


@pytest.mark.parametrize("length", [SIZE, SIZE + 1, 2 * SIZE])
def test_an_object_replaced_while_it_is_read_gives_no_mixed_bytes(place, length):
    uri = f"{place}/mixed-{length}.bin"
    put(uri, b"a" * SIZE)
    with open_input(uri, BLOCKS) as file:
        assert file.read(5) == b"aaaaa"
        put(uri, b"b" * length)
        with pytest.raises(DataError, match="another object was put in its place while it was read") as caught:
            file.read()
        assert caught.value.offset_bytes == BLOCKS.block_bytes and caught.value.path == uri
    with open_input(uri, BLOCKS) as file:
        assert file.read() == b"b" * length


def test_blocks_that_are_kept_are_of_the_object_that_is_there(place, tmp_path):
    uri = f"{place}/kept.bin"
    options = RemoteOptions(cache_dir=str(tmp_path), block_bytes=64 << 10)
    for letter in (b"a", b"b", b"c"):  # within one second, which is all that S3 says of times
        put(uri, letter * SIZE)
        for _ in range(2):
            with open_input(uri, options) as file:
                assert file.read() == letter * SIZE


def test_another_content_of_the_same_size_is_another_mark(place):
    uri = f"{place}/mark.bin"
    found = set()
    for letter in (b"a", b"b"):
        put(uri, letter * 10)
        assert stat(uri)[1] > 0
        found.add(paths.change_mark(uri))
    assert len(found) == 2


def test_a_parquet_file_is_read_as_it_is_now(place):
    uri = f"{place}/values.parquet"
    sizes = set()
    for first in (1, 101):
        sink = pa.BufferOutputStream()
        pq.write_table(pa.table({"x": range(first, first + 50)}), sink, compression="none", use_dictionary=False)
        put(uri, sink.getvalue().to_pybytes())
        sizes.add(stat(uri)[0])
        with use_options(BLOCKS):
            read = pa.Table.from_batches(Dataset.open(uri).read_batches())
        assert read["x"].to_pylist() == list(range(first, first + 50))
    assert len(sizes) == 1


@pytest.mark.parametrize("scheme", ["s3", "memory"])  # TensorFlow opens gs:// itself
def test_a_directory_that_is_written_anew_is_copied_anew(scheme, request, monkeypatch):
    place = at(scheme, request, monkeypatch)
    for text in (b"old", b"new"):
        put(f"{place}/graph/saved_model.pb", text)
        assert (pathlib.Path(for_tensorflow(f"{place}/graph")) / "saved_model.pb").read_bytes() == text


@pytest.mark.parametrize("scheme", ["s3", "gs"])
def test_what_others_write_after_a_listing_is_seen(scheme, request, monkeypatch):
    """Clients of stores keep what they listed, and what another process did since would never come to light."""
    directory = f"{at(scheme, request, monkeypatch)}/listed"
    put(f"{directory}/a.bin", b"one")
    before = list_tree(directory), expand(directory), marks_below(directory), stat(f"{directory}/a.bin")
    assert before[0] == ["a.bin"] and not exists(f"{directory}/b.bin")
    code = (
        "import sys; from engine.storage.remote import open_output\n"
        "for name, size in (('a.bin', 70), ('b.bin', 80)):\n"
        "    with open_output(f'{sys.argv[1]}/{name}') as file: file.write(b'x' * size)"
    )
    subprocess.run([sys.executable, "-c", code, directory], check=True, timeout=300)
    assert stat(f"{directory}/a.bin")[0] == 70 and exists(f"{directory}/b.bin")
    assert list_tree(directory) == ["a.bin", "b.bin"]
    assert expand(directory) == [f"{directory}/a.bin", f"{directory}/b.bin"]
    assert [size for _, size, _ in marks_below(directory)] == [70, 80]
    with open_input(f"{directory}/a.bin") as file:
        assert file.read() == b"x" * 70
