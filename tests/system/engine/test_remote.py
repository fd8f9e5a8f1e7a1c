"""Remote objects on a real S3 server, with and without faults between it and the reader."""

from __future__ import annotations

import json
import os
import random
import time

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engine import Dataset, ingest
from engine.core.errors import ConfigError, DataError
from engine.storage.remote import (
    BlockCache,
    RemoteOptions,
    exists,
    expand,
    open_input,
    open_output,
    resolve,
    stat,
    use_options,
)
from engine.storage.tree import read_text, write_text
from tests.support.eventually import eventually
from tests.support.servers.s3 import FaultyProxy, s3_server

FAST = RemoteOptions(attempts=4, backoff_s=0.01, request_timeout_s=1.0, block_bytes=64 << 10, read_ahead_blocks=2)
DATA = random.Random(5).randbytes(700_001)


@pytest.fixture(scope="module")
def server():
    with s3_server() as address:
        yield address


@pytest.fixture(autouse=True)
def credentials(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def uri(address: str, key: str) -> str:
    return f"s3://data/{key}?endpoint_override={address}&scheme=http&region=us-east-1"


def put(address: str, key: str, data: bytes) -> None:
    with open_output(uri(address, key)) as file:
        file.write(data)


@pytest.fixture(scope="module")
def big(server):
    os.environ.update(AWS_ACCESS_KEY_ID="testing", AWS_SECRET_ACCESS_KEY="testing")
    put(server, "big.bin", DATA)
    return "big.bin"


def test_read_whole_and_at_random_places_equals_what_was_written(server, big):
    with open_input(uri(server, big), FAST) as file:
        assert file.read() == DATA
        choose = random.Random(1)
        for _ in range(50):
            offset, length = choose.randrange(len(DATA)), choose.randrange(200_000)
            file.seek(offset)
            assert file.read(length) == DATA[offset : offset + length]
        assert file.read_at(len(DATA), 10) == b""


def test_expand_lists_directory_and_glob_without_hidden_names(server):
    for key in ("set/a-0.rec", "set/a-1.rec", "set/_manifest.json", "set/.tmp/x.rec", "set/deep/b-0.rec"):
        put(server, key, b"x")
    assert expand(uri(server, "set")) == [uri(server, f"set/{n}") for n in ("a-0.rec", "a-1.rec", "deep/b-0.rec")]
    assert expand(uri(server, "set/a-*.rec")) == [uri(server, f"set/a-{n}.rec") for n in (0, 1)]
    assert expand(uri(server, "set/**/*-0.rec")) == [uri(server, "set/a-0.rec"), uri(server, "set/deep/b-0.rec")]
    assert expand(uri(server, "set/a-0.rec")) == [uri(server, "set/a-0.rec")]
    assert expand(uri(server, "nothing/*")) == []


def test_a_table_of_delta_is_refused_and_its_files_are_read_where_they_are_named(server):
    for key in ("delta/y=1/a.parquet", "delta/_delta_log/00000000000000000000.json"):
        put(server, key, b"x")
    with pytest.raises(DataError, match="is a table of Delta") as caught:
        expand(uri(server, "delta"))
    assert caught.value.path == "s3://data/delta"
    assert expand(uri(server, "delta/*/*.parquet")) == [uri(server, "delta/y=1/a.parquet")]


def test_stat_missing_object_names_the_uri(server):
    assert stat(uri(server, "big.bin"))[0] == len(DATA)
    assert not exists(uri(server, "absent"))
    with pytest.raises(DataError, match=r"s3://data/absent.*no object is here"):
        stat(uri(server, "absent"))


def test_missing_bucket_is_final_and_not_tried_again(server):
    with FaultyProxy(server, lambda request: None) as proxy, use_options(FAST):
        target = uri(proxy.address, "x").replace("data/", "no-such-bucket/")
        with pytest.raises(DataError, match="cannot write"), open_output(target) as file:
            file.write(b"1")
        assert len(proxy.requests) <= 2 * 2


@pytest.mark.parametrize("kind", ["503", "cut", "reset", "short", "hang"])
def test_read_with_every_third_request_broken_gives_the_exact_bytes(server, big, kind):
    def fault(request):
        return kind if request.method == "GET" and request.range and request.number % 3 == 0 else None

    with FaultyProxy(server, fault, hang_s=1.5) as proxy, open_input(uri(proxy.address, big), FAST) as file:
        assert file.read() == DATA
        assert kind in proxy.faults


def test_read_with_a_store_that_never_recovers_names_object_offset_and_attempts(server, big):
    def fault(request):
        return "503" if f"bytes={3 * FAST.block_bytes}-" in request.range else None

    with FaultyProxy(server, fault) as proxy, open_input(uri(proxy.address, big), FAST) as file:
        with pytest.raises(DataError, match="4 attempts") as caught:
            file.read()
        assert caught.value.offset_bytes == 3 * FAST.block_bytes
        assert "big.bin" in caught.value.path
        file.seek(0)
        assert file.read(100) == DATA[:100]  # the fault is that block's alone


def test_read_of_an_object_that_shrank_raises(server):
    put(server, "shrinks", DATA)
    with open_input(uri(server, "shrinks"), FAST) as file:
        put(server, "shrinks", DATA[:1000])
        with pytest.raises(DataError, match="another object was put in its place"):
            file.read()


def test_sequential_read_fetches_ahead_in_parallel(server, big):
    waiting = []

    def fault(request):
        if request.range:
            waiting.append(time.monotonic())
        return None

    with FaultyProxy(server, fault) as proxy, open_input(uri(proxy.address, big), FAST) as file:
        file.read(10)
        eventually(lambda: len(waiting) >= 1 + FAST.read_ahead_blocks, "the blocks ahead are asked for")
        time.sleep(0.3)  # none may come after them
        # Block 0 was asked for; 1 and 2 came along unasked.
        assert len(waiting) == 1 + FAST.read_ahead_blocks
        assert file.read_at(FAST.block_bytes, 10) == DATA[FAST.block_bytes : FAST.block_bytes + 10]


def test_cache_second_reader_asks_the_store_for_no_block(server, big, tmp_path):
    options = RemoteOptions(**{**FAST.__dict__, "cache_dir": str(tmp_path / "cache")})
    with FaultyProxy(server, lambda request: None) as proxy:
        with open_input(uri(proxy.address, big), options) as file:
            assert file.read() == DATA
        before = sum(1 for r in proxy.requests if r.range)
        assert before > 0
        with open_input(uri(proxy.address, big), options) as file:
            assert file.read() == DATA
        assert sum(1 for r in proxy.requests if r.range) == before


def test_cache_with_a_flipped_bit_reads_the_block_again(server, big, tmp_path):
    options = RemoteOptions(**{**FAST.__dict__, "cache_dir": str(tmp_path)})
    with open_input(uri(server, big), options) as file:
        file.read()
    for path in tmp_path.glob("*.block"):
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 4
        path.write_bytes(data)
    with open_input(uri(server, big), options) as file:
        assert file.read() == DATA


def test_cache_stays_within_its_bound_and_drops_the_oldest(tmp_path):
    cache = BlockCache(tmp_path, 100_000)
    for number in range(200):
        cache.put(f"{number:040d}", bytes([number]) * 3000)
        os.utime(tmp_path / f"{number:040d}.block", ns=(number, number))
    assert cache.size_bytes() <= 100_000
    assert cache.get(f"{199:040d}") == bytes([199]) * 3000
    assert cache.get(f"{0:040d}") is None


def test_write_that_raises_leaves_no_object(server):
    with pytest.raises(RuntimeError, match="stop"), open_output(uri(server, "half")) as file:
        file.write(b"half")
        raise RuntimeError("stop")
    assert not exists(uri(server, "half"))


def test_write_through_a_server_that_fails_at_first_is_whole(server):
    def fault(request):
        return "503" if request.method in ("PUT", "POST") and request.number < 3 else None

    with FaultyProxy(server, fault) as proxy, use_options(FAST):
        put(proxy.address, "stubborn", DATA)
        assert "503" in proxy.faults
    with open_input(uri(server, "stubborn"), FAST) as file:
        assert file.read() == DATA


def test_memory_scheme_goes_through_fsspec():
    with open_output("memory://box/a.bin") as file:
        file.write(DATA)
    assert expand("memory://box") == ["memory://box/a.bin"]
    with open_input("memory://box/a.bin", FAST) as file:
        assert file.read() == DATA


def test_unknown_scheme_says_what_is_allowed():
    with pytest.raises(ConfigError, match="nosuch://"):
        exists("nosuch://x/y")


def test_options_out_of_range_or_not_a_number_name_the_variable(monkeypatch):
    with pytest.raises(ConfigError, match="attempts is 0"):
        RemoteOptions(attempts=0)
    monkeypatch.setenv("FULLPASS_REMOTE_BLOCK_BYTES", "many")
    with pytest.raises(ConfigError, match="FULLPASS_REMOTE_BLOCK_BYTES: got 'many'"):
        RemoteOptions.from_environment()


def test_a_shard_deleted_from_a_bucket_is_refused_in_every_form(server, tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{server}")
    pq.write_table(pa.table({"x": list(range(40))}), tmp_path / "source.parquet")
    out = "s3://data/shards"
    ingest(tmp_path / "source.parquet", out, num_shards=4)
    forms = (out, f"{out}/", f"{out}/*.parquet", [out])
    for form in forms:
        ds = Dataset.open(form)
        assert ds.num_records == 40 and len(ds.known_entries) == 4
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    assert len(Dataset.open(uri(server, "shards")).known_entries) == 4, "the manifest is where the URI's query says"
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{server}")
    filesystem, path = resolve(f"{out}/data-00001-of-00004.parquet")
    filesystem.delete_file(path)
    for form in (*forms, uri(server, "shards"), uri(server, "shards/*.parquet")):
        with pytest.raises(DataError, match="is listed in the manifest with 10 records") as caught:
            Dataset.open(form)
        assert caught.value.path.partition("?")[0] == f"{out}/data-00001-of-00004.parquet"
        assert not Dataset.open(form, check_present=False).verify().ok


def test_a_small_object_that_a_longer_one_replaces_is_read_whole(server):
    """Its size from before does not cut it: a lease that its holder writes anew would be read in part, and be taken for none."""
    where = uri(server, "lease.json")
    with use_options(FAST):
        write_text(where, "{}")

        def fault(request):
            if request.method == "GET" and not written:
                written.append(1)
                write_text(where, json.dumps({"holder": "x" * 100}))

        written = []
        with FaultyProxy(server, fault) as proxy:
            assert json.loads(read_text(uri(proxy.address, "lease.json")) or "") == {"holder": "x" * 100}
        assert written
        assert read_text(uri(server, "none.json")) is None


def test_keys_that_come_later_are_seen(server, monkeypatch, tmp_path):
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    put(server, "keys.bin", b"x")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    with pytest.raises(DataError, match="locate credentials"), use_options(FAST):
        exists(uri(server, "keys.bin"))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    assert exists(uri(server, "keys.bin"))
