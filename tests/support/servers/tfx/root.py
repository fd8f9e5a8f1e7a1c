"""Builds the Debian 13 root with TFX in it and runs commands there.

Every command runs in a mount and process namespace of its own: its bind mounts are seen by nobody else and end with it,
however it ends, and no process of it can stay behind. The finished root is only read; what a session installs or writes
lies in its own directory, which the command sees as `/session`. So any number of sessions share one root.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

__all__ = ["TfxRoot", "reason_not_to_run", "tfx_root"]

SUITE = "trixie"
DEBIAN_PACKAGES = ("python3", "python3-venv", "python3-dev", "ca-certificates", "g++")
# The last line is what the project needs beside TFX; setuptools 81 no longer has the pkg_resources that TFX imports.
PYTHON_PACKAGES = (
    "tfx==1.21.0",
    "setuptools>=77,<81",
    "wheel",
    "pybind11>=2.13",
    "isal>=1.7,<2",
    "rich>=13.7",
    "fsspec>=2024.2",
)
# What a site sets to reach its mirrors; paths of this machine in other settings mean nothing inside.
_PASSED_ON = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_TRUSTED_HOST", "UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_INDEX",
              "http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")  # fmt: skip
_CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"


def reason_not_to_run() -> str | None:
    """Returns why this machine cannot have the root, or None where it can."""
    if sys.platform != "linux":
        return "TFX runs in a Debian root, which needs Linux"
    if os.geteuid() != 0:
        return "TFX runs in a Debian root, and making one needs the rights of root"
    probe = subprocess.run(["unshare", "--mount", "--pid", "--fork", "true"], capture_output=True, text=True)
    if probe.returncode:
        return f"TFX runs in a Debian root with mounts of its own, which this machine forbids: {probe.stderr.strip()}"
    return None


class TfxRoot:
    """A finished root and one session's directory in it.

    Args:
        root: the Debian tree; only read.
        session: directory of this machine that commands see as `/session`; HOME and temporary files lie there too.
    """

    def __init__(self, root: Path, session: Path) -> None:
        self.root, self.session = root, session

    def run(
        self,
        command: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: str = "/session",
        timeout_s: float = 1500,
        log: Path | None = None,
    ) -> str:
        """Runs a command in the root and returns what it printed. It can import the project once that is installed.

        Args:
            command: program and arguments, paths as seen inside.
            env: more environment variables.
            cwd: where it starts, as seen inside.
            timeout_s: seconds after which the command and all its children are killed.
            log: file that gets the output too.

        Raises:
            RuntimeError: the command failed; the message ends with its last lines.
        """
        for name in ("home", "tmp"):
            (self.session / name).mkdir(parents=True, exist_ok=True)
        return _inside(self.root, command, binds={self.session: "/session"}, cwd=cwd, timeout_s=timeout_s, log=log, env={
            "HOME": "/session/home", "TMPDIR": "/session/tmp", "PYTHONPATH": "/session/source:/session/user", **(env or {})})  # fmt: skip

    def install_project(self, source: Path) -> None:
        """Copies the project's source to `/session/source` and builds its extension there, for the root's own Python.

        The built extension is kept beside the root by a hash of what it was built from.
        """
        copy = self.session / "source"
        copy.mkdir(parents=True)
        for name in ("engine", "transforms", "trainers", "cluster"):
            shutil.copytree(source / name, copy / name, ignore=shutil.ignore_patterns("*.so", "__pycache__", ".*"))
        for name in ("setup.py", "pyproject.toml"):
            shutil.copy2(source / name, copy / name)
        digest = hashlib.sha256((copy / "setup.py").read_bytes())
        for package in ("engine", "transforms"):
            for file in sorted(each for each in (copy / package / "native").rglob("*") if each.is_file()):
                digest.update(str(file.relative_to(copy)).encode() + file.read_bytes())
        kept = self.root.parent / f"{self.root.name}-native-{digest.hexdigest()[:12]}"
        if not kept.exists():
            self.run(
                ["python", "setup.py", "-q", "build_ext", "--inplace"], cwd="/session/source", env={"MAX_JOBS": "2"}
            )
            with tempfile.TemporaryDirectory(dir=kept.parent, prefix=".native.") as temporary:
                for package in ("engine", "transforms"):
                    (built,) = (copy / package).glob("_native*.so")
                    shutil.copyfile(built, Path(temporary) / f"{package}.so")
                shutil.copytree(temporary, f"{temporary}.whole")
                os.replace(f"{temporary}.whole", kept)
        tag = self.run(["python", "-c", "import sysconfig; print(sysconfig.get_config_var('EXT_SUFFIX'))"]).split()[-1]
        for package in ("engine", "transforms"):
            shutil.copyfile(kept / f"{package}.so", copy / package / f"_native{tag}")


def tfx_root(session: Path, cache: Path | None = None) -> TfxRoot:
    """Returns a root with TFX for one session, building it first where the cache has none (a few minutes).

    Args:
        session: empty or missing directory for what the session writes.
        cache: where finished roots are kept; default `~/.cache/fullpass`.
    """
    cache = cache or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fullpass"
    cache.mkdir(parents=True, exist_ok=True)
    recipe = repr((SUITE, DEBIAN_PACKAGES, PYTHON_PACKAGES, 1))
    root = cache / f"tfx-root-{hashlib.sha256(recipe.encode()).hexdigest()[:12]}"
    with open(cache / "tfx-root.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # one builds, the others wait and then find it
        if not root.exists():
            building = cache / f".tfx-root.tmp-{os.getpid()}-{secrets.token_hex(4)}"
            try:
                _build(building)
                os.replace(building, root)
            finally:
                shutil.rmtree(building, ignore_errors=True)
    session.mkdir(parents=True, exist_ok=True)
    return TfxRoot(root, session)


def _build(root: Path) -> None:
    start = time.monotonic()
    if shutil.which("debootstrap") is None:
        _checked(["apt-get", "update", "-q"], "apt-get update")
        _checked(
            ["apt-get", "install", "-y", "-q", "--no-install-recommends", "debootstrap"], "apt-get install debootstrap"
        )
    # The wrapper gives debootstrap's own mounts (proc in the new root) a namespace that ends with it.
    _checked(
        ["unshare", "--mount", "--propagation", "private", "debootstrap", "--variant=minbase",
         f"--include={','.join(DEBIAN_PACKAGES)}", SUITE, str(root)],
        "debootstrap",
    )  # fmt: skip
    print(f"tfx root: Debian {SUITE} after {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)
    for name in ("session", "var/cache/apt/archives"):
        (root / name).mkdir(parents=True, exist_ok=True)
    for package in (root / "var/cache/apt/archives").glob("*.deb"):
        package.unlink()
    for name in ("/etc/resolv.conf", _CERTIFICATES, "/etc/pip.conf"):
        if Path(name).exists():
            shutil.copyfile(name, root / name.lstrip("/"))
    for name in ("pip", "uv"):
        if (Path.home() / ".config" / name).is_dir():
            shutil.copytree(Path.home() / ".config" / name, root / "root/.config" / name, dirs_exist_ok=True)
    (root / "etc/hosts").write_text("127.0.0.1 localhost\n::1 localhost\n")
    env = {"HOME": "/root", "UV_LINK_MODE": "copy", "UV_HTTP_TIMEOUT": "180", "VIRTUAL_ENV": "/venv"}
    _inside(root, ["python3", "-m", "venv", "/venv"], env=env)
    _inside(root, ["/venv/bin/pip", "install", "--quiet", "--no-cache-dir", "uv"], env=env)
    _inside(
        root,
        ["/venv/bin/uv", "pip", "install", "--no-cache", "--quiet", "--compile-bytecode", *PYTHON_PACKAGES],
        env=env,
    )
    print(f"tfx root: TFX installed after {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)


def _inside(
    root: Path,
    command: Sequence[str],
    *,
    env: Mapping[str, str],
    binds: Mapping[Path, str] | None = None,
    cwd: str = "/",
    timeout_s: float = 900,
    log: Path | None = None,
) -> str:
    """Runs a command in the root under private mounts and returns its output."""
    mounts = [f"mount --rbind /dev {shlex.quote(f'{root}/dev')}", f"mount -t proc proc {shlex.quote(f'{root}/proc')}"]
    mounts += [f"mount --bind {shlex.quote(str(a))} {shlex.quote(f'{root}{b}')}" for a, b in (binds or {}).items()]
    inner = f"cd {shlex.quote(cwd)} && exec {shlex.join(command)}"
    script = " && ".join([*mounts, f"exec chroot {shlex.quote(str(root))} /bin/sh -c {shlex.quote(inner)}"])
    variables = {
        "PATH": "/venv/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
        "LANG": "C.UTF-8",
        "SSL_CERT_FILE": _CERTIFICATES,
        "TF_CPP_MIN_LOG_LEVEL": "2",
        **{name: os.environ[name] for name in _PASSED_ON if name in os.environ},
        **env,
    }
    wrapper = ["unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "sh", "-c", script]
    output: list[str] = []
    with subprocess.Popen(
        wrapper, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as process:
        try:
            text, _ = process.communicate(timeout=timeout_s)
            output.append(text)
        except BaseException:
            process.kill()  # --kill-child takes the whole namespace with it
            text, _ = process.communicate()
            output.append(text)
            raise
        finally:
            if log is not None:
                log.write_text("".join(output))
    if process.returncode:
        tail = "\n".join(text.splitlines()[-60:])
        raise RuntimeError(f"in the TFX root, exit {process.returncode}: {shlex.join(command)}\n{tail}")
    return text


def _checked(command: Sequence[str], what: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        tail = "\n".join((done.stdout + done.stderr).splitlines()[-20:])
        raise RuntimeError(f"{what} failed with exit {done.returncode}:\n{tail}")
