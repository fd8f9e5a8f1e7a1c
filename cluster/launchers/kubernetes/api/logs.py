"""Lines of all pods of a job, merged as they come; a broken stream is taken up where it ended."""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator

from cluster.launchers.base import ConnectionLost, JobNotFound, LauncherError
from cluster.launchers.kubernetes.api.client import Api
from cluster.launchers.kubernetes.kinds.kind import Kind
from cluster.launchers.log_query import LogQuery
from cluster.launchers.status import LogLine

__all__ = ["follow_logs", "read_logs"]

_ENDED = ("Succeeded", "Failed")


def read_logs(api: Api, kind: Kind, job: str, query: LogQuery) -> Iterator[LogLine]:
    """Yields what pods have written so far, pod by pod; arguments as of `follow_logs`."""
    tail = query.tail
    pods = api.pods(kind, job)
    for (role, index), pod in zip(kind.members(pods), pods):
        relay = kind.relays(role)
        if not (relay or query.wants(role, index)):
            continue
        try:
            texts = api.log_lines(pod["metadata"]["name"], follow=False, since=None, tail=None if relay else tail)
            lines = (kind.line(role, index, text.partition(" ")[2]) for text in texts)
            # The last lines of a pod that prints what all members write are not the last of each.
            yield from _last((line for line in lines if query.wants(line.role, line.index)), tail if relay else None)
        except LauncherError as error:
            if isinstance(error, ConnectionLost) or not _not_started(error):
                raise


def _last(lines: Iterable[LogLine], tail: int | None) -> Iterator[LogLine]:
    """Yields the lines, or the last `tail` of each member, member by member."""
    if tail is None:
        yield from lines
        return
    kept: dict[tuple[str, int], deque[LogLine]] = {}
    for line in lines:
        kept.setdefault((line.role, line.index), deque(maxlen=tail)).append(line)
    for each in kept.values():
        yield from each


def follow_logs(
    api: Api, kind: Kind, job: str, query: LogQuery, *, patience_s: float, poll_s: float
) -> Iterator[LogLine]:
    """Yields lines until the job has finished and every log has been read to its end.

    Args:
        api: connection.
        kind: of the job.
        job: its name.
        query: which members' lines, and how many of each to start with.
        patience_s: how long the API may be out of reach.
        poll_s: seconds between two looks at the pods.

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
                if name not in readers and (query.wants(*member) or kind.relays(member[0])):
                    reader = _Reader(
                        api,
                        kind,
                        name,
                        *member,
                        query=query,
                        lines=lines,
                        stop=stop,
                        patience_s=patience_s,
                        poll_s=poll_s,
                    )
                    readers[name] = threading.Thread(target=reader.run, daemon=True, name=f"log-{name}")
                    readers[name].start()
            ended = finished and not any(thread.is_alive() for thread in readers.values())
            if ended and lines.empty():
                return
            look_again = time.monotonic() + poll_s
            while (left := look_again - time.monotonic()) > 0 and not (ended and lines.empty()):
                try:
                    yield lines.get(timeout=left)
                except queue.Empty:
                    break
    finally:
        stop.set()


class _Reader:
    """Reads one pod's log to its end, over as many connections as it takes."""

    def __init__(
        self,
        api: Api,
        kind: Kind,
        pod: str,
        role: str,
        index: int,
        *,
        query: LogQuery,
        lines: queue.Queue[LogLine],
        stop: threading.Event,
        patience_s: float,
        poll_s: float,
    ) -> None:
        self._api, self._kind, self._pod, self._role, self._index = api, kind, pod, role, index
        self._query, self._lines, self._stop = query, lines, stop
        self._patience_s, self._poll_s = patience_s, poll_s
        self._last = ""  # time of the last line passed on
        self._of_last = 0  # lines of that time that were passed on

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
            self._stop.wait(self._poll_s)

    def _read(self) -> None:
        tail = self._query.tail if not self._last else None
        # Opened anew, the log starts again at a whole second: what was passed on is left out. Lines can share a moment, so
        # those of the last one are counted.
        reopened, repeated = self._last, self._of_last
        for stamped in self._api.log_lines(self._pod, follow=True, since=self._last or None, tail=tail):
            if self._stop.is_set():
                return
            moment, _, text = stamped.partition(" ")
            moment = _padded(moment)
            if moment < reopened:
                continue
            if moment == reopened and repeated:
                repeated -= 1
                continue
            line = self._kind.line(self._role, self._index, text)
            if self._query.wants(line.role, line.index):
                self._lines.put(line)
            self._of_last = self._of_last + 1 if moment == self._last else 1
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
