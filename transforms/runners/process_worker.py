"""A worker process of the local runner, which starts it with an address and a count, and the key on standard input.

The first imports what a pass needs, once, and is forked into the others before anything runs. Each connects to the runner, gets
the pass, and answers one request at a time: ("split", number, split) or ("merge", key, numbers of splits). Requests are pickles, answers
are JSON (`tell`).
"""

from __future__ import annotations

import importlib
import json
import os
import pickle  # nosec B403 - of our own runner
import sys
from collections.abc import Mapping
from multiprocessing.connection import Client, Connection
from typing import Any

from engine.machine.processes import die_with_parent
from transforms.runners.error_notes import error_note
from transforms.runners.exchange import read_parts, write_parts

__all__ = ["Worker", "main", "tell", "write_split"]


def write_split(directory: str, number: int, parts: Mapping[tuple[int, int], bytes | memoryview], rows: int) -> None:
    """Writes the parts of a split for whoever merges them.

    Args:
        directory: for the parts of splits.
        number: of the split.
        parts: by (analyzer, part).
        rows: records of the split.
    """
    place = _split_directory(directory, number)
    os.mkdir(place)
    write_parts(place, "all", [(*key, blob) for key, blob in parts.items()], {number: rows})


def _split_directory(directory: str, number: int) -> str:
    return os.path.join(directory, f"split-{number}")


def tell(connection: Connection, kind: str, value: Any) -> None:
    """Sends the runner a message as JSON, and a merged part as it is after it: the runner loads no pickle of a worker's.

    Args:
        connection: to the runner.
        kind: "rows", "done", "merged" or "failed".
        value: of the message.
    """
    if kind == "merged":
        connection.send_bytes(json.dumps([kind, None]).encode())
        connection.send_bytes(value)
    else:
        connection.send_bytes(json.dumps([kind, value]).encode())


def main(address: str, count: int) -> None:
    """Serves as `count` worker processes until the runner goes away."""
    die_with_parent()
    key = sys.stdin.buffer.read()
    for name in ("transforms.planning.graph_function", "transforms.accumulators.registry", "tensorflow"):
        importlib.import_module(name)
    first = os.getpid()
    for _ in range(count - 1):
        if os.fork() == 0:
            die_with_parent(first)
            break
    with Client(address, "AF_UNIX", authkey=key) as connection:
        _serve(connection)


def _serve(connection: Connection) -> None:
    directory, payload = connection.recv()
    plan, reader = pickle.loads(payload)  # noqa: S301  # nosec B301 - our own runner's, over an authenticated socket
    opened = plan.open()
    worker = Worker(plan, opened, reader, directory)
    try:
        while True:
            try:
                request = connection.recv()
            except EOFError:
                return
            try:
                tell(connection, *worker.answer(request, connection))
            except Exception as error:
                tell(connection, "failed", error_note(error))
    finally:
        opened.close()


class Worker:
    """What answers the runner's requests.

    Args:
        plan: the pass.
        opened: the same, opened.
        reader: reads splits.
        directory: for the parts of splits.
    """

    def __init__(self, plan: Any, opened: Any, reader: Any, directory: str) -> None:
        self._plan, self._opened, self._reader, self._directory = plan, opened, reader, directory
        self._parts: dict[int, dict[tuple[int, int], memoryview]] = {}

    def answer(self, request: Any, connection: Connection) -> tuple[str, Any]:
        """Returns ("merged", the part) or ("done", [records, keys of the parts]) of a split.

        Args:
            request: ("merge", key, numbers of splits) or ("split", number, split).
            connection: is told the records of each batch that was counted.
        """
        if request[0] == "merge":
            _, key, numbers = request
            return "merged", bytes(self._plan.merge(key, [self._parts_of(number)[key] for number in numbers]))
        _, number, split = request

        def counted() -> Any:
            for batch in self._reader.read(split):
                yield batch
                tell(connection, "rows", batch.num_rows)

        state = self._opened.accumulate(counted())
        parts = self._opened.encode(state)
        write_split(self._directory, number, parts, state.rows)
        return "done", [int(state.rows), [[int(number) for number in key] for key in parts]]

    def _parts_of(self, number: int) -> dict[tuple[int, int], memoryview]:
        """Returns the mapped parts of a split, whose index is read once: for each key anew it would be the square of the columns."""
        if number not in self._parts:
            self._parts[number] = read_parts(_split_directory(self._directory, number))[0]
        return self._parts[number]
