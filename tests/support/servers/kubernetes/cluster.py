"""Starts and removes a cluster: one process tree in pid, mount and network namespaces of its own.

`python -m tests.support.servers.kubernetes.cluster` starts one, prints its kubeconfig and removes it on Ctrl-C.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.support.servers.kubernetes.binaries import Unavailable, ensure_packages, ensure_programs
from tests.support.servers.kubernetes.images import machine_paths, make_images
from tests.support.servers.kubernetes.operators import HOSTS

__all__ = ["Cluster"]


class Cluster:
    """A control plane and a node on this machine; use it as a context manager.

    Attributes:
        state: folder with everything that it writes: logs, certificates, volumes; removed at the end.
        kubeconfig: file for clients outside the namespaces, as the user admin.
        flink_home: empty folder that every container sees as /opt/flink.
        spark_home: the same for /opt/spark.
        operators: names of those that run in it.
    """

    def __init__(self) -> None:
        # Unix sockets lie in it: a short path.
        self.state = Path(tempfile.mkdtemp(prefix="fpk-", dir="/tmp"))
        self.kubeconfig = self.state / "kubeconfig-outside"
        self.flink_home = self.state / "flink"
        self.spark_home = self.state / "spark"
        self.operators: set[str] = set()
        self._cgroup = f"fullpass-{secrets.token_hex(4)}"
        self._tree: subprocess.Popen | None = None
        self._forward: subprocess.Popen | None = None
        self._port = 0

    def __enter__(self) -> Cluster:
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def kubectl(self, *words: str, stdin: str | None = None, check: bool = True) -> str:
        """Returns what kubectl printed.

        Args:
            words: its arguments.
            stdin: its input.
            check: raise where it fails; else return both outputs.
        """
        command = [str(ensure_programs() / "kubectl"), "--kubeconfig", str(self.kubeconfig), *words]
        done = subprocess.run(command, input=stdin, capture_output=True, text=True)
        if check and done.returncode:
            raise RuntimeError(f"kubectl {' '.join(words)}: {done.stderr.strip()}")
        return done.stdout if check else done.stdout + done.stderr

    def wait_established(self, crd: str) -> None:
        """Waits until the API serves a resource definition. `kubectl wait` fails on one that has no conditions yet."""
        query = "jsonpath={.status.conditions[?(@.type=='Established')].status}"
        for _ in range(120):
            if self.kubectl("get", f"crd/{crd}", "-o", query, check=False) == "True":
                return
            time.sleep(0.5)
        raise RuntimeError(f"the API server did not take {crd} within a minute")

    def inside(self, *words: str, **options) -> subprocess.Popen:
        """Starts a program within the cluster's namespaces; options as of Popen."""
        enter = ["nsenter", "-t", str(self.init_pid), "-n", "-m", "-p"]
        return subprocess.Popen([*enter, *words], **options)

    @property
    def init_pid(self) -> int:
        """Process that holds the namespaces."""
        assert self._tree is not None
        children = Path(f"/proc/{self._tree.pid}/task/{self._tree.pid}/children").read_text().split()
        return int(children[0])

    def connect(self) -> None:
        """Makes the API reachable from outside, for as long as the calling thread lives."""
        listen = f"TCP-LISTEN:{self._port},bind=127.0.0.1,fork,reuseaddr"
        words = ["setpriv", "--pdeathsig", "KILL", "socat", listen, f"UNIX-CONNECT:{self.state}/api.sock"]
        self._forward = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )

    def disconnect(self) -> None:
        """Cuts all connections from outside; the cluster goes on."""
        if self._forward is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._forward.pid, signal.SIGKILL)
            self._forward.wait()
            self._forward = None

    def stop(self) -> None:
        """Removes the cluster and all that it wrote."""
        self.disconnect()
        if self._tree is not None and self._tree.poll() is None:
            with contextlib.suppress(OSError, IndexError):
                os.kill(self.init_pid, signal.SIGKILL)
            self._tree.wait(30)
        for _ in range(50):  # the kernel takes a moment to empty the control groups
            if not self._remove_cgroups():
                break
            time.sleep(0.1)
        shutil.rmtree(self.state, ignore_errors=True)

    def _start(self) -> None:
        ensure_packages()
        programs = ensure_programs()
        make_images(self.state / "images", programs / "pause", Path(shutil.which("busybox") or "/usr/bin/busybox"))
        seen = {str(path): str(path) for path in machine_paths()}
        for path, home in (("/opt/flink", self.flink_home), ("/opt/spark", self.spark_home)):
            home.mkdir()
            seen[path] = str(home)
        (self.state / "machine-paths.json").write_text(json.dumps(seen))
        (self.state / "cgroup").write_text(self._cgroup)
        self._write_certificates()
        self._write_kubeconfig(self.state / "kubeconfig", 16443)
        # A test process that is killed takes its cluster with it.
        unshare = "setpriv --pdeathsig KILL unshare --fork --pid --kill-child --mount-proc --mount --net --propagation private"
        node = [sys.executable, str(Path(__file__).with_name("node.py")), str(self.state), str(programs), *HOSTS]
        with open(self.state / "node.log", "wb") as log:
            self._tree = subprocess.Popen(
                [*unshare.split(), *node], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        while not (self.state / "ready").exists():
            if self._tree.poll() is not None or (self.state / "failed").exists():
                raise Unavailable(f"the cluster did not start: {(self.state / 'node.log').read_text()[-2000:]}")
            time.sleep(0.1)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self.connect()
        self._write_kubeconfig(self.kubeconfig, self._port)
        for _ in range(100):
            if self.kubectl("get", "--raw", "/readyz", check=False).strip() == "ok":
                return
            time.sleep(0.1)
        raise Unavailable("the API server cannot be reached from outside its namespaces")

    def _write_certificates(self) -> None:
        names = "IP:127.0.0.1,IP:10.244.0.1,IP:10.96.0.1,DNS:localhost,DNS:kubernetes.default.svc"
        (self.state / "extensions").write_text(f"subjectAltName={names}\n")
        # nothing but RSA keys: service account tokens are signed with one of them
        for words in (
            "genrsa -out sa.key 2048",
            "rsa -in sa.key -pubout -out sa.pub",
            "req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=test-ca -keyout ca.key -out ca.crt",
            "req -newkey rsa:2048 -nodes -subj /CN=kube-apiserver -keyout apiserver.key -out apiserver.csr",
            "x509 -req -in apiserver.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 30 -extfile extensions -out apiserver.crt",
        ):
            subprocess.run(["openssl", *words.split()], cwd=self.state, capture_output=True, check=True)
        (self.state / "tokens.csv").write_text(f"{secrets.token_hex(16)},admin,admin,system:masters\n")

    def _write_kubeconfig(self, path: Path, port: int) -> None:
        authority = base64.b64encode((self.state / "ca.crt").read_bytes()).decode()
        token = (self.state / "tokens.csv").read_text().split(",")[0]
        path.write_text(
            "apiVersion: v1\nkind: Config\ncurrent-context: test\n"
            f'clusters: [{{name: test, cluster: {{server: "https://127.0.0.1:{port}", certificate-authority-data: {authority}}}}}]\n'
            f"users: [{{name: admin, user: {{token: {token}}}}}]\n"
            "contexts: [{name: test, context: {cluster: test, user: admin}}]\n"
        )
        path.chmod(0o600)

    def _remove_cgroups(self) -> bool:
        left = False
        for top in (*Path("/sys/fs/cgroup").glob(f"*/{self._cgroup}"), Path("/sys/fs/cgroup", self._cgroup)):
            for folder, _, _ in os.walk(top, topdown=False):
                with contextlib.suppress(OSError):
                    os.rmdir(folder)
            left |= top.exists()
        return left


if __name__ == "__main__":
    with Cluster() as cluster:
        print(f"export KUBECONFIG={cluster.kubeconfig}", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            signal.pause()
