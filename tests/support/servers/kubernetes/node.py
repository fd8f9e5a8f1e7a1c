"""Init of the cluster's namespaces: network, control plane, containerd, names, kubelet. Its death ends everything in them.

Run by `cluster.py` as `node.py STATE BIN HOST...` under `unshare --pid --mount --net`; it imports nothing of the project.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

ADDRESS = "10.244.0.1"
API = "https://127.0.0.1:16443"
# The kubelet sets these for the whole machine: it gets private copies.
SYSCTLS = (
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
)
CONTAINERD = """\
version = 2
root = "{state}/containerd/root"
state = "{state}/containerd/state"
oom_score = 0
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", \
"io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.internal.v1.opt"]
[grpc]
  address = "{state}/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/pause:local"
  restrict_oom_score_adj = true
  disable_apparmor = true
  stream_server_address = "127.0.0.1"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{state}/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      base_runtime_spec = "{state}/runtime.json"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        BinaryName = "{state}/runc"
"""


def start(state: Path, programs: Path) -> None:
    """Starts everything and leaves `ready` in the state folder."""
    network()
    for name in SYSCTLS:
        private = state / "sysctl" / name
        private.parent.mkdir(parents=True, exist_ok=True)
        private.write_text(Path("/proc/sys", name).read_text())
        run("mount", "--bind", str(private), f"/proc/sys/{name}")
    # The API server reaches the operators' webhooks, which run beside it, by the names in their certificates.
    shutil.copyfile("/etc/hosts", state / "hosts")
    with open(state / "hosts", "a") as hosts:
        hosts.write("".join(f"127.0.0.1 {name}\n" for name in sys.argv[3:]))
    run("mount", "--bind", str(state / "hosts"), "/etc/hosts")
    control_plane(state, programs)
    containers(state)
    token = state / "tokens.csv"
    spawn(
        state, sys.executable, str(Path(__file__).with_name("dns.py")), ADDRESS, API, str(token), str(state / "ca.crt")
    )
    kubelet(state, programs)
    spawn(state, "socat", f"UNIX-LISTEN:{state}/api.sock,fork,mode=600", "TCP:127.0.0.1:16443")
    kubectl = [str(programs / "kubectl"), "--kubeconfig", str(state / "kubeconfig")]
    ready = '{.status.conditions[?(@.type=="Ready")].status}'
    until(
        lambda: "True" in output(*kubectl, "get", "node", "node0", "-o", f"jsonpath={ready}"), 120, "the node is ready"
    )
    until(lambda: output(*kubectl, "get", "serviceaccount", "default", "-o", "name"), 60, "the default service account")
    (state / "ready").touch()


def network() -> None:
    """A bridge for pods in this network namespace; nothing of it is seen outside."""
    run("ip", "link", "set", "lo", "up")
    run("sysctl", "-qw", "net.ipv4.ip_forward=1")
    run("ip", "link", "add", "k8sbr0", "type", "bridge")
    run("ip", "addr", "add", f"{ADDRESS}/24", "dev", "k8sbr0")
    run("ip", "link", "set", "k8sbr0", "up")


def control_plane(state: Path, programs: Path) -> None:
    """etcd, API server, controllers and scheduler on loopback."""
    etcd = "http://127.0.0.1:12379"
    peer = "http://127.0.0.1:12380"
    spawn(
        state, "etcd", "--data-dir", f"{state}/etcd", "--listen-client-urls", etcd, "--advertise-client-urls", etcd,
        "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", f"default={peer}",
        "--unsafe-no-fsync",
    )  # fmt: skip
    spawn(
        state, str(programs / "kube-apiserver"), f"--etcd-servers={etcd}", "--bind-address=127.0.0.1", "--secure-port=16443",
        f"--advertise-address={ADDRESS}", "--endpoint-reconciler-type=none", f"--tls-cert-file={state}/apiserver.crt",
        f"--tls-private-key-file={state}/apiserver.key", f"--client-ca-file={state}/ca.crt",
        "--service-cluster-ip-range=10.96.0.0/16", "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={state}/sa.pub", f"--service-account-signing-key-file={state}/sa.key",
        f"--token-auth-file={state}/tokens.csv", "--authorization-mode=RBAC", "--allow-privileged=true",
        "--profiling=false", "--kubelet-preferred-address-types=InternalIP", "--enable-priority-and-fairness=false",
    )  # fmt: skip
    kubectl = [str(programs / "kubectl"), "--kubeconfig", str(state / "kubeconfig")]
    until(lambda: output(*kubectl, "get", "--raw", "/readyz") == "ok", 120, "the API server is ready")
    common = [f"--kubeconfig={state}/kubeconfig", "--bind-address=127.0.0.1", "--leader-elect=false"]
    common += [f"--authentication-kubeconfig={state}/kubeconfig", f"--authorization-kubeconfig={state}/kubeconfig"]
    spawn(
        state, str(programs / "kube-controller-manager"), *common, f"--service-account-private-key-file={state}/sa.key",
        f"--root-ca-file={state}/ca.crt",
    )  # fmt: skip
    spawn(state, str(programs / "kube-scheduler"), *common)


def containers(state: Path) -> None:
    """containerd with the images of this folder."""
    for path in ("/var/lib/kubelet", "/var/log/pods", "/run/containerd"):
        os.makedirs(path, exist_ok=True)
        run("mount", "-t", "tmpfs", "tmpfs", path)
    run("mount", "--make-rshared", "/var/lib/kubelet")
    # What every container of the node sees of this machine; pods may not ask for it where the namespace is restricted.
    runtime = json.loads(output("ctr", "oci", "spec"))
    for path, source in json.loads((state / "machine-paths.json").read_text()).items():
        options = ["rbind", "ro", "nosuid", "nodev"]
        runtime["mounts"].append({"destination": path, "type": "bind", "source": source, "options": options})
    (state / "runtime.json").write_text(json.dumps(runtime))
    (state / "containerd.toml").write_text(CONTAINERD.format(state=state))
    runc = state / "runc"
    runc.write_text(f'#!/bin/sh\nexec {sys.executable} -S {Path(__file__).with_name("runc.py")} "$@"\n')
    runc.chmod(0o755)
    ranges = [[{"subnet": "10.244.0.0/24"}]]
    ipam = {"type": "host-local", "ranges": ranges, "routes": [{"dst": "0.0.0.0/0"}], "dataDir": f"{state}/ipam"}
    bridge = {
        "type": "bridge",
        "bridge": "k8sbr0",
        "isGateway": True,
        "ipMasq": False,
        "hairpinMode": True,
        "ipam": ipam,
    }
    (state / "cni").mkdir(exist_ok=True)
    conflist = {"cniVersion": "1.0.0", "name": "pods", "plugins": [bridge]}
    (state / "cni" / "10-bridge.conflist").write_text(json.dumps(conflist))
    spawn(state, "containerd", "-c", f"{state}/containerd.toml")
    ctr = ["ctr", "-a", f"{state}/containerd.sock"]
    until(lambda: output(*ctr, "version"), 60, "containerd answers")
    for image in sorted((state / "images").glob("*.tar")):
        run(*ctr, "-n", "k8s.io", "image", "import", "--base-name", "localhost", str(image))


def kubelet(state: Path, programs: Path) -> None:
    """The node, with pods in a cgroup of their own."""
    name = (state / "cgroup").read_text()
    if Path("/sys/fs/cgroup/cgroup.controllers").exists():
        os.makedirs(f"/sys/fs/cgroup/{name}", exist_ok=True)
    else:
        for controller in (
            "cpu",
            "cpuacct",
            "cpuset",
            "memory",
            "devices",
            "freezer",
            "blkio",
            "pids",
            "systemd",
            "hugetlb",
        ):
            if Path("/sys/fs/cgroup", controller).is_dir():
                os.makedirs(f"/sys/fs/cgroup/{controller}/{name}", exist_ok=True)
        for key in ("cpuset.cpus", "cpuset.mems"):  # a new cpuset of cgroup v1 is empty and holds no process
            value = Path("/sys/fs/cgroup/cpuset", key)
            if value.exists():
                Path("/sys/fs/cgroup/cpuset", name, key).write_text(value.read_text())
    (state / "resolv.conf").write_text(f"nameserver {ADDRESS}\n")
    config = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": ADDRESS,
        "healthzBindAddress": "127.0.0.1",
        "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
        "authorization": {"mode": "AlwaysAllow"},
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{name}",
        "failCgroupV1": False,
        "failSwapOn": False,
        "containerRuntimeEndpoint": f"unix://{state}/containerd.sock",
        "clusterDNS": [ADDRESS],
        "clusterDomain": "cluster.local",
        "resolvConf": str(state / "resolv.conf"),
        "oomScoreAdj": 0,
        "maxOpenFiles": 20000,
        "podLogsDir": "/var/log/pods",
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "imageGCHighThresholdPercent": 100,
        "syncFrequency": "2s",
        "volumeStatsAggPeriod": "5s",
        "serializeImagePulls": False,
        "registryPullQPS": 0,
        "eventRecordQPS": 0,
    }
    (state / "kubelet.json").write_text(json.dumps(config))
    spawn(
        state, str(programs / "kubelet"), "--config", f"{state}/kubelet.json", "--kubeconfig", f"{state}/kubeconfig",
        "--hostname-override", "node0", "--node-ip", ADDRESS, "--root-dir", "/var/lib/kubelet", "--cert-dir", f"{state}/kubelet",
    )  # fmt: skip


def spawn(state: Path, *words: str) -> None:
    """Starts a server whose output goes to NAME.log."""
    name = Path(words[1]).stem if words[0] == sys.executable else Path(words[0]).name
    with open(state / f"{name}.log", "ab") as log:
        subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log)


def run(*words: str) -> None:
    """Runs a command that must succeed."""
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(words)}: {done.stderr.strip()}")


def output(*words: str) -> str:
    """Returns what a command printed, or nothing where it failed."""
    done = subprocess.run(words, capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else ""


def until(condition, seconds: float, what: str) -> None:
    """Waits for a condition."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError(f"waited {seconds:.0f} s in vain: {what}")
        time.sleep(0.2)


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        start(folder, Path(sys.argv[2]))
    except Exception as error:
        (folder / "failed").write_text(str(error))
        raise
    while True:  # init reaps what is left to it
        try:
            os.wait()
        except ChildProcessError:
            time.sleep(1)
