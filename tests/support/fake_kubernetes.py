"""A small Kubernetes API server in this process: objects in memory, selectors, owners, pod logs, and faults on purpose.

It answers the real client over HTTP with what a cluster would send; what a controller or the kubelet would do, tests do through
`add_pod`, `end_pod` and `write`. The kinds of real clusters are tested in tests/clusters; here are refusals, broken
connections and races that a real one does not give on demand.
"""

from __future__ import annotations

import copy
import datetime
import http.server
import json
import re
import socket
import socketserver
import threading
import time
import urllib.parse
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["FakeKubernetes"]

Object = dict[str, Any]
_PATH = re.compile(
    r"/(?:api|apis/(?P<group>[^/]+))/(?P<version>[^/]+)(?:/namespaces/(?P<namespace>[^/]+))?"
    r"(?:/(?P<plural>[^/]+))?(?:/(?P<name>[^/]+))?(?:/(?P<sub>log))?$"
)
_KINDS = {
    "pods": "Pod", "services": "Service", "configmaps": "ConfigMap", "secrets": "Secret", "events": "Event", "jobs": "Job",
    "networkpolicies": "NetworkPolicy", "jobsets": "JobSet", "trainjobs": "TrainJob", "trainingruntimes": "TrainingRuntime",
}  # fmt: skip


class FakeKubernetes:
    """The server; a context manager.

    Attributes:
        fault: called with (method, path, number of the request from 0) before each request; it returns None, an HTTP status
            to answer with (with `message` where it is a pair), or "reset" to close the connection.
        installed: plurals that this cluster knows.
        requests: (method, path) of each request.
        collects: whether deleted owners take what they own with them at once; else `collect()` does.
        log_cut: lines after which a followed log's connection breaks, once for each number in the list.
    """

    def __init__(self) -> None:
        self.fault: Callable[[str, str, int], Any] = lambda *_: None
        self.installed = {"pods", "services", "configmaps", "secrets", "events", "jobs", "networkpolicies"}
        self.requests: list[tuple[str, str]] = []
        self.collects = True
        self.log_cut: list[int] = []
        self._objects: dict[tuple[str, str], Object] = {}
        self._logs: dict[str, list[tuple[str, str]]] = {}
        self._changed = threading.Condition()
        self._number = 0

    def __enter__(self) -> FakeKubernetes:
        fake = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

            def handle_any(self) -> None:
                fake._answer(self)

            do_GET = do_POST = do_PUT = do_DELETE = handle_any

        class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
            daemon_threads = True

            def handle_error(self, *_: object) -> None:
                pass

        self._server = Server(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def kubeconfig(self, folder: Path, namespace: str = "team") -> str:
        """Writes a kubeconfig and returns its path."""
        address = f"http://127.0.0.1:{self._server.server_address[1]}"
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "fake",
            "clusters": [{"name": "fake", "cluster": {"server": address}}],
            "users": [{"name": "me", "user": {}}],
            "contexts": [{"name": "fake", "context": {"cluster": "fake", "user": "me", "namespace": namespace}}],
        }
        (folder / "kubeconfig").write_text(json.dumps(config))
        return str(folder / "kubeconfig")

    # ---- what controllers and the kubelet would do

    def add_pod(self, job: str, index: int = 0, phase: str = "Running", name: str = "") -> str:
        """Adds a pod of an Indexed Job from its template and returns its name."""
        owner = self._objects["jobs", job]
        template = copy.deepcopy(owner["spec"]["template"])
        name = name or f"{job}-{index}-{len(self.names('pods'))}"
        metadata = template["metadata"]
        metadata["annotations"] = {
            **metadata.get("annotations", {}),
            "batch.kubernetes.io/job-completion-index": str(index),
        }
        metadata["ownerReferences"] = [
            {"apiVersion": "batch/v1", "kind": "Job", "name": job, "uid": owner["metadata"]["uid"]}
        ]
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {**metadata, "name": name},
            "spec": template["spec"],
            "status": {"phase": phase},
        }
        self._store("pods", pod)
        self._logs[name] = []
        return name

    def end_pod(self, name: str, code: int = 0, message: str = "") -> None:
        """Ends a pod's container."""
        with self._changed:
            pod = self._objects["pods", name]
            ended = {"exitCode": code, "reason": "Completed" if code == 0 else "Error", "message": message}
            container = pod["spec"]["containers"][0]
            state = {"terminated": ended}
            status = {"name": container["name"], "image": container["image"], "imageID": "", "ready": False}
            pod["status"] = {
                "phase": "Failed" if code else "Succeeded",
                "containerStatuses": [{**status, "restartCount": 0, "state": state}],
            }
            self._changed.notify_all()

    def set_status(self, job: str, **status: Any) -> None:
        """Sets fields of a Job's status; `condition="Complete"` adds a condition that is true."""
        with self._changed:
            found = self._objects["jobs", job].setdefault("status", {})
            if kind := status.pop("condition", None):
                found.setdefault("conditions", []).append({"type": kind, "status": "True"})
            found.update(status)

    def write(self, pod: str, *texts: str, moment: str = "") -> None:
        """Writes lines to a pod's log, all of one moment."""
        with self._changed:
            now = moment or datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%f000Z")
            self._logs[pod] += [(now, text) for text in texts]
            self._changed.notify_all()

    def names(self, plural: str) -> list[str]:
        """Returns the names of what is there."""
        return sorted(name for kind, name in self._objects if kind == plural)

    def get(self, plural: str, name: str) -> Object:
        """Returns an object as it is stored."""
        return self._objects[plural, name]

    def collect(self) -> None:
        """Deletes what is owned by what is gone."""
        uids = {obj["metadata"]["uid"] for obj in self._objects.values()}
        for key, obj in list(self._objects.items()):
            owners = obj["metadata"].get("ownerReferences") or []
            if owners and not any(owner["uid"] in uids for owner in owners):
                del self._objects[key]

    # ---- HTTP

    def _store(self, plural: str, obj: Object) -> Object:
        self._number += 1
        now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        meta = {"namespace": "team", **obj["metadata"], "uid": f"uid-{self._number}", "creationTimestamp": now}
        self._objects[plural, obj["metadata"]["name"]] = stored = {**copy.deepcopy(obj), "metadata": meta}
        return stored

    def _answer(self, handler: http.server.BaseHTTPRequestHandler) -> None:
        url = urllib.parse.urlsplit(handler.path)
        query = dict(urllib.parse.parse_qsl(url.query))
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        fault = self.fault(handler.command, url.path, len(self.requests))
        self.requests.append((handler.command, url.path))
        if fault == "reset":
            handler.close_connection = True
            handler.connection.shutdown(socket.SHUT_RDWR)
            return
        if fault:
            status, message = fault if isinstance(fault, tuple) else (fault, "asked for by the test")
            self._status(handler, status, message)
            return
        match = _PATH.match(url.path)
        assert match, url.path
        plural, name = match["plural"], match["name"]
        if plural is None and match["namespace"]:  # the namespace itself
            self._send(handler, 200, {"metadata": {"name": match["namespace"], "labels": {}}})
        elif plural not in self.installed:
            self._status(handler, 404, "the server could not find the requested resource")
        elif match["sub"] == "log":
            self._send_log(handler, name, query)
        else:
            value = json.loads(body) if body else {}
            with self._changed:
                code, reply = getattr(self, f"_{handler.command.lower()}")(plural, name, query, value)
            if isinstance(reply, str):
                self._status(handler, code, reply, name)
            else:
                self._send(handler, code, reply)

    def _get(self, plural: str, name: str | None, query: dict[str, str], _: Object) -> tuple[int, Object | str]:
        if name:
            found = self._objects.get((plural, name))
            return (200, found) if found else (404, f'{plural} "{name}" not found')
        items = [obj for (kind, _), obj in sorted(self._objects.items()) if kind == plural]
        items = [obj for obj in items if _selected(obj, query)]
        return 200, {"kind": f"{_KINDS[plural]}List", "apiVersion": "v1", "metadata": {}, "items": items}

    def _post(self, plural: str, _: str | None, query: dict[str, str], obj: Object) -> tuple[int, Object | str]:
        name = obj["metadata"]["name"]
        if (plural, name) in self._objects:
            return 409, f'{plural} "{name}" already exists'
        return 201, obj if query.get("dryRun") == "All" else self._store(plural, obj)

    def _put(self, plural: str, name: str | None, _: dict[str, str], obj: Object) -> tuple[int, Object | str]:
        self._objects[plural, str(name)] = obj
        return 200, obj

    def _delete(self, plural: str, name: str | None, _: dict[str, str], __: Object) -> tuple[int, Object | str]:
        if self._objects.pop((plural, str(name)), None) is None:
            return 404, f'{plural} "{name}" not found'
        if self.collects:
            self.collect()
        return 200, {"kind": "Status", "status": "Success"}

    def _send_log(self, handler: http.server.BaseHTTPRequestHandler, pod: str, query: dict[str, str]) -> None:
        if ("pods", pod) not in self._objects:
            self._status(handler, 404, f'pods "{pod}" not found')
            return
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        since = time.time() - int(query.get("sinceSeconds", 1 << 40))
        at = max(0, len(self._logs[pod]) - int(query["tailLines"])) if "tailLines" in query else 0
        cut = self.log_cut.pop(0) if self.log_cut and query.get("follow") == "true" else None
        while True:
            with self._changed:
                lines = self._logs.get(pod, [])[at:]
                obj = self._objects.get(("pods", pod))
                ended = obj is None or obj["status"]["phase"] in ("Succeeded", "Failed")
                if not lines and not ended and query.get("follow") == "true":
                    self._changed.wait(0.2)
                    continue
            for moment, text in lines:
                at += 1
                if datetime.datetime.fromisoformat(moment[:19] + "+00:00").timestamp() < int(since):
                    continue
                if cut == 0:
                    handler.close_connection = True
                    handler.connection.shutdown(socket.SHUT_RDWR)
                    return
                cut = None if cut is None else cut - 1
                data = f"{moment} {text}\n".encode()
                handler.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
                handler.wfile.flush()
            if ended or query.get("follow") != "true":
                handler.wfile.write(b"0\r\n\r\n")
                return

    def _status(self, handler: Any, code: int, message: str, name: str | None = None) -> None:
        reasons = {401: "Unauthorized", 403: "Forbidden", 404: "NotFound", 409: "AlreadyExists", 422: "Invalid"}
        body = {
            "kind": "Status",
            "status": "Failure",
            "code": code,
            "reason": reasons.get(code, ""),
            "message": message,
        }
        self._send(handler, code, {**body, "details": {"name": name} if name else {}})

    @staticmethod
    def _send(handler: Any, code: int, value: Object) -> None:
        data = json.dumps(value).encode()
        handler.send_response(code)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)


def _selected(obj: Object, query: dict[str, str]) -> bool:
    labels = obj["metadata"].get("labels") or {}
    for term in filter(None, query.get("labelSelector", "").split(",")):
        key, equal, value = term.partition("=")
        if key not in labels or (equal and labels[key] != value):
            return False
    for term in filter(None, query.get("fieldSelector", "").split(",")):
        key, _, value = term.partition("=")
        at: Any = obj
        for part in key.split("."):
            at = (at or {}).get(part)
        if at != value:
            return False
    return True
