"""Lines of all pods of a job, merged as they come; a broken stream is taken up where it ended."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator

from cluster.launchers.base import ConnectionLost, JobNotFound, LauncherError
from cluster.launchers.kubernetes.api import Api
from cluster.launchers.kubernetes.kind import Kind
from cluster.launchers.status import LogLine

__all__ = ["follow_logs", "read_logs"]

_POLL_S = 1.0
_ENDED = ("Succeeded", "Failed")


def read_logs(
    api: Api, kind: Kind, job: str, *, wanted: Callable[[str, int], bool], tail: int | None
) -> Iterator[LogLine]:
    """Yields what pods have written so far, pod by pod; arguments as of `follow_logs`."""
    pods = api.pods(kind, job)
    for (role, index), pod in zip(kind.members(pods), pods):
        if not wanted(role, index):
            continue
        try:
            for line in api.log_lines(pod["metadata"]["name"], follow=False, since=None, tail=tail):
                yield LogLine(role=role, index=index, text=line.partition(" ")[2])
        except LauncherError as error:
            if isinstance(error, ConnectionLost) or not _not_started(error):
                raise


def follow_logs(
    api: Api, kind: Kind, job: str, *, wanted: Callable[[str, int], bool], tail: int | None, patience_s: float
) -> Iterator[LogLine]:
    """Yields lines until the job has finished and every log has been read to its end.

    Args:
        api: connection.
        kind: of the job.
        job: its name.
        wanted: (role, index) → whether that member's lines are wanted.
        tail: start with the last lines of each pod only.
        patience_s: how long the API may be out of reach.

    Raises:
        ConnectionLost: it was out of reach for longer.
    """
    lines: queue.Queue[LogLine] = queue.Queue()
    stop = threading.Event()
    readers: dict[str, threading.Thread] = {}
    reached = time.monotonic()
    try:
        finished = False
        while True:
            try:
                pods = api.pods(kind, job)
                finished = _finished(api, kind, job)
                reached = time.monotonic()
            except ConnectionLost:
                if time.monotonic() - reached > patience_s:
                    raise
                pods = []
            for member, pod in zip(kind.members(pods), pods):
                name = pod["metadata"]["name"]
                if name not in readers and wanted(*member):
                    reader = _Reader(api, name, *member, lines=lines, stop=stop, tail=tail, patience_s=patience_s)
                    readers[name] = threading.Thread(target=reader.run, daemon=True, name=f"log-{name}")
                    readers[name].start()
            ended = finished and not any(thread.is_alive() for thread in readers.values())
            if ended and lines.empty():
                return
            look_again = time.monotonic() + _POLL_S
            while (left := look_again - time.monotonic()) > 0 and not (ended and lines.empty()):
                try:
                    yield lines.get(timeout=left)
                except queue.Empty:
                    break
    finally:
        stop.set()


class _Reader:
    """Reads one pod's log to its end, over as many connections as it takes."""

    def __init__(self, api: Api, pod: str, role: str, index: int, *, lines, stop, tail, patience_s: float) -> None:
        self._api, self._pod, self._role, self._index = api, pod, role, index
        self._lines, self._stop, self._tail, self._patience_s = lines, stop, tail, patience_s
        self._last = ""  # time of the last line passed on

    def run(self) -> None:
        """Puts lines into the queue until the pod has ended or is gone."""
        reached = time.monotonic()
        while not self._stop.is_set():
            ended = True
            try:
                pod = self._api.pod(self._pod)
                reached = time.monotonic()
                if pod is None:
                    return
                # Looked at before reading: what is read from an ended pod is all there will be.
                ended = pod.get("status", {}).get("phase") in _ENDED
                self._read()
            except ConnectionLost:
                ended = time.monotonic() - reached > self._patience_s
            except LauncherError as error:
                ended = ended or not _not_started(error)
            if ended:
                return
            self._stop.wait(_POLL_S)

    def _read(self) -> None:
        tail = self._tail if not self._last else None
        for line in self._api.log_lines(self._pod, follow=True, since=self._last or None, tail=tail):
            if self._stop.is_set():
                return
            moment, _, text = line.partition(" ")
            moment = _padded(moment)
            # Opened anew, the log starts again at a whole second: what was passed on is left out.
            if moment > self._last:
                self._lines.put(LogLine(role=self._role, index=self._index, text=text))
                self._last = moment


def _finished(api: Api, kind: Kind, job: str) -> bool:
    try:
        return kind.state(api.get(kind, job))[0].finished
    except JobNotFound:  # cancelled, or removed after its time
        return True


def _not_started(error: LauncherError) -> bool:
    text = str(error)
    return any(
        part in text
        for part in ("waiting to start", "ContainerCreating", "is terminated", "not found", "PodInitializing", "host")
    )


def _padded(moment: str) -> str:
    """Returns an RFC 3339 time with nine digits of a second, so that texts compare as times do."""
    whole, _, fraction = moment.rstrip("Z").partition(".")
    return f"{whole}.{fraction:0<9}"
