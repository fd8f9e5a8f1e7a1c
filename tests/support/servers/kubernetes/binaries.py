"""Programs of a Kubernetes cluster, built from the Go module proxy once and kept; Debian packages for the rest.

`python -m tests.support.servers.kubernetes.binaries` builds everything beforehand (about 20 CPU-minutes), or waits for another process
that is at it.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from engine.machine.lock import locked

__all__ = [
    "CACHE",
    "OPERATORS",
    "Unavailable",
    "ensure_manifests",
    "ensure_packages",
    "ensure_program",
    "ensure_programs",
]

KUBERNETES = "v1.34.4"
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "fullpass" / "kubernetes"
PROGRAMS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kubectl")
DEBIAN = {
    "etcd": "etcd-server",
    "containerd": "containerd",
    "runc": "runc",
    "busybox": "busybox-static",
    "iptables": "iptables",
    "conntrack": "conntrack",
    "ethtool": "ethtool",
    "socat": "socat",
    "ip": "iproute2",
    "ipset": "ipset",
    "unshare": "util-linux",
    "pgrep": "procps",
    "curl": "curl",
    "openssl": "openssl",
    "gcc": "gcc",
    "/usr/lib/cni/bridge": "containernetworking-plugins",
}


class Unavailable(Exception):
    """This machine cannot run a cluster; the message is the reason that a skipped test prints."""


@dataclass(frozen=True, kw_only=True)
class Operator:
    """A controller published as a Go module.

    Attributes:
        module: Go module path.
        version: its version.
        command: package of its program; empty where its CRDs alone are used.
        crds: folder of its CRDs within the module, or one of them; empty where it has none.
        webhooks: file of its admission webhooks within the module; empty where its own installation has none.
        within: name of an operator whose module requires this version of this one: built in it, both compile the rest once.
    """

    module: str
    version: str
    command: str = ""
    crds: str = ""
    webhooks: str = ""
    within: str = ""


OPERATORS = {
    "training-operator": Operator(
        module="github.com/kubeflow/training-operator",
        version="v1.8.1",
        command="github.com/kubeflow/training-operator/cmd/training-operator.v1",
        crds="manifests/base/crds",
        webhooks="manifests/base/webhook/manifests.yaml",
    ),
    "jobset": Operator(
        module="sigs.k8s.io/jobset",
        version="v0.8.2",
        command="sigs.k8s.io/jobset",
        crds="config/components/crd/bases",
        webhooks="config/components/webhook/manifests.yaml",
        within="trainer",
    ),
    "trainer": Operator(
        module="github.com/kubeflow/trainer/v2",
        version="v2.0.0",
        command="github.com/kubeflow/trainer/v2/cmd/trainer-controller-manager",
        crds="manifests/base/crds",
        webhooks="manifests/base/webhook/manifests.yaml",
    ),
    "kuberay": Operator(
        module="github.com/ray-project/kuberay/ray-operator",
        version="v1.4.0",
        command="github.com/ray-project/kuberay/ray-operator",
        crds="config/crd/bases",
    ),
    # Its firewall alone is used: what enforces NetworkPolicies on the node's bridge.
    "kube-router": Operator(
        module="github.com/cloudnativelabs/kube-router/v2",
        version="v2.1.0",
        command="github.com/cloudnativelabs/kube-router/v2/cmd/kube-router",
    ),
    "kserve": Operator(
        module="github.com/kserve/kserve",
        version="v0.15.2",
        crds="config/crd/full/serving.kserve.io_inferenceservices.yaml",
    ),
}


def ensure_packages() -> None:
    """Installs the Debian packages that are missing.

    Raises:
        Unavailable: not root, no apt-get, or a package cannot be had.
    """
    if os.geteuid() != 0:
        raise Unavailable("a cluster in namespaces of its own needs root")
    missing = [deb for name, deb in DEBIAN.items() if not (Path(name).exists() or shutil.which(name))]
    if not missing:
        return
    if not shutil.which("apt-get"):
        raise Unavailable(f"these Debian packages are missing and there is no apt-get: {', '.join(missing)}")
    # Nothing that a package brings may start as a service of this machine.
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing]
    for words in (install, ["apt-get", "update", "-qq"], install):
        done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=600)
        if words is install and done.returncode == 0:
            return
    raise Unavailable(f"apt-get could not install {', '.join(missing)}: {done.stderr.strip()[-500:]}")


def ensure_programs() -> Path:
    """Returns the folder that holds the control plane's programs, kubelet, kubectl and pause; builds what is missing."""
    bin_dir = CACHE / "bin"
    missing = [name for name in PROGRAMS if not (bin_dir / name).exists()]
    if missing:
        _build(
            _kubernetes_module, {name: f"k8s.io/kubernetes/cmd/{name}" for name in missing}, f"kubernetes-{KUBERNETES}"
        )
    if not (bin_dir / "pause").exists():
        _build_pause(bin_dir)
    return bin_dir


def ensure_program(name: str) -> Path:
    """Returns the program of the operator `name`, built where it is missing."""
    operator = OPERATORS[name]
    if not (CACHE / "bin" / name).exists():
        module = OPERATORS[operator.within or name]
        _build(lambda folder, go: _operator_module(folder, go, module), {name: operator.command}, name)
    return CACHE / "bin" / name


def ensure_manifests(name: str) -> tuple[list[Path], Path | None]:
    """Returns the CRD files and the webhook file, if any, of the operator `name`, fetched where they are missing."""
    operator, kept = OPERATORS[name], CACHE / "manifests" / name
    if not kept.exists():
        module = _module_folder(f"{operator.module}@{operator.version}", _go_environment())
        temporary = kept.with_name(f".{name}.{os.getpid()}")
        shutil.rmtree(temporary, ignore_errors=True)
        (temporary / "crds").mkdir(parents=True)
        pattern = operator.crds if operator.crds.endswith(".yaml") else f"{operator.crds}/*_*.yaml"
        for file in sorted(module.glob(pattern)) if operator.crds else ():
            shutil.copyfile(file, temporary / "crds" / file.name)
        if operator.webhooks:
            shutil.copyfile(module / operator.webhooks, temporary / "webhooks.yaml")
        os.replace(temporary, kept)
    return sorted((kept / "crds").glob("*.yaml")), kept / "webhooks.yaml" if operator.webhooks else None


def remove_build_caches() -> None:
    """Deletes Go's module and build caches of these builds (3 GB) where no other process builds; the programs stay."""
    folder = CACHE / "go"
    building = any(Path("/proc", source.suffix[1:]).exists() for source in (CACHE / "src").glob("*.*"))
    if folder.exists() and not building:
        subprocess.run(["chmod", "-R", "u+w", str(folder)], check=False)
        shutil.rmtree(folder, ignore_errors=True)


def _go_environment() -> dict[str, str]:
    if not shutil.which("go", path=f"{os.environ.get('PATH', '')}:/usr/local/go/bin"):
        raise Unavailable("building Kubernetes needs the go command (1.24 or later) on PATH")
    folder = CACHE / "go"
    return {
        **os.environ,
        "PATH": f"{os.environ.get('PATH', '')}:/usr/local/go/bin",
        "GOMODCACHE": str(folder / "mod"),
        "GOCACHE": str(folder / "build"),
        "GOFLAGS": "-mod=mod -buildvcs=false",
        "CGO_ENABLED": "0",
    }


def _module_folder(module: str, go: dict[str, str]) -> Path:
    """Downloads module@version and returns its folder in the module cache."""
    # `go mod download` outside a module does not take -mod.
    outside = {**go, "GOFLAGS": ""}
    _run(["go", "mod", "download", module], cwd="/", env=outside, what=f"fetch {module}")
    escaped = re.sub("[A-Z]", lambda m: "!" + m[0].lower(), module)
    return Path(go["GOMODCACHE"]) / escaped


def _kubernetes_module(folder: Path, go: dict[str, str]) -> None:
    """Writes a module that requires Kubernetes as its release does, with the published staging modules."""
    source = _module_folder(f"k8s.io/kubernetes@{KUBERNETES}", go)
    text = (source / "go.mod").read_text()
    staging = re.findall(r"^\s*(k8s\.io/[a-z-]+) => \./staging", text, re.M)
    lines = ["module fullpass.test/kubernetes", *re.findall(r"^go .*$", text, re.M)]
    lines += re.findall(r"^godebug [^(]*$", text, re.M)
    lines += re.findall(r"^godebug \(.*?^\)", text, re.M | re.S)
    lines += [f"require k8s.io/kubernetes {KUBERNETES}"]
    lines += re.findall(r"^require \(.*?^\)", text, re.M | re.S)
    lines += [f"replace {module} => {module} v0.{KUBERNETES[3:]}" for module in staging]
    (folder / "go.mod").write_text("\n".join(lines) + "\n")


def _operator_module(folder: Path, go: dict[str, str], operator: Operator) -> None:
    source = _module_folder(f"{operator.module}@{operator.version}", go)
    text = re.sub(r"^module .*$", "module fullpass.test/operator", (source / "go.mod").read_text(), count=1, flags=re.M)
    (folder / "go.mod").write_text(f"{text}\nrequire {operator.module} {operator.version}\n")
    if (source / "go.sum").exists():
        shutil.copyfile(source / "go.sum", folder / "go.sum")


def _build(write_module, packages: dict[str, str], label: str) -> None:
    go = _go_environment()
    bin_dir, folder = CACHE / "bin", CACHE / "src" / f"{label}.{os.getpid()}"
    bin_dir.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        write_module(folder, go)
        # A file that imports nothing of note: `go build` of a package path needs a main module with a package.
        (folder / "doc.go").write_text("package kept\n")
        version = "k8s.io/component-base/version"
        flags = f"-s -w -X {version}.gitVersion={KUBERNETES} -X {version}.gitTreeState=clean"
        flags += f" -X {version}.gitMajor=1 -X {version}.gitMinor={KUBERNETES.split('.')[1]}"
        for name, package in packages.items():
            start = time.monotonic()
            print(f"building {name} ...", file=sys.stderr, flush=True)
            built = folder / name
            words = ["go", "build", "-trimpath", "-ldflags", flags, "-o", str(built), package]
            _run(words, cwd=folder, env=go, what=f"build {name}")
            os.replace(built, bin_dir / name)
            print(f"built {name} in {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _build_pause(bin_dir: Path) -> None:
    source = Path(__file__).with_name("pause.c")
    _run(
        ["gcc", "-Os", "-static", "-s", "-o", str(bin_dir / "pause"), str(source)],
        cwd="/",
        env=dict(os.environ),
        what="build pause",
    )


def _run(words: list[str], *, cwd, env: dict[str, str], what: str) -> None:
    done = subprocess.run(words, cwd=cwd, env=env, capture_output=True, text=True)
    if done.returncode:
        raise Unavailable(f"could not {what}: {done.stderr.strip()[-1500:]}")


def main(keep_go: bool) -> None:
    """Makes everything that is missing, in one process of this machine at a time.

    Not at low priority: two test workers leave it next to nothing of two cores (one program of eight in half an hour at 10), and all of
    Kubernetes' tests wait for it.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # which ends the compiler, too
    with locked(CACHE):
        ensure_packages()
        ensure_programs()
        for name, operator in OPERATORS.items():
            if operator.command:
                ensure_manifests(name)
                ensure_program(name)
                continue
            with contextlib.suppress(Unavailable):  # the tests of its resources alone skip then, and say why
                ensure_manifests(name)
        if not keep_go:
            remove_build_caches()


if __name__ == "__main__":
    main("--keep-go" in sys.argv)
