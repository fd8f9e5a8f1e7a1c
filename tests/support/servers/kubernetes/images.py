"""Container images made by hand, since no registry is needed: docker-archive files for `ctr image import`.

The image of Fullpass is empty: the node's runtime mounts this machine's Python, environment, checkout and /usr into every
container (`machine_paths`), read-only, so that its pods see what an image of k8s/Dockerfile would hold.
"""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import sys
import tarfile
from pathlib import Path

from tests.support.line_hits import start
from tests.support.line_hits.start import VARIABLE

__all__ = ["BUSYBOX", "FULLPASS", "machine_paths", "make_images"]

BUSYBOX = "localhost/busybox:local"
FULLPASS = "localhost/fullpass:1"
_PAUSE = "localhost/pause:local"
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_ROOT = Path(__file__).resolve().parents[4]
# Users of the images that this one stands in for: Hadoop's libraries in Spark refuse to run as one that has no name.
_USERS = {"root": 0, "spark": 185, "flink": 9999, "fullpass": 10001}
_DIRECTORIES = ("etc", "tmp", "proc", "sys", "dev", "usr", "opt", "root", "var", "home")


def machine_paths() -> list[Path]:
    """Returns the directories of this machine that containers see, none of them within another."""
    # /usr/bin/java goes through /etc/alternatives, and Java's own settings are in /etc/java-VERSION.
    settings = [Path("/etc/ssl"), Path("/etc/alternatives"), *Path("/etc").glob("java-*")]
    wanted = {Path("/usr"), *settings, _ROOT, Path(sys.prefix), Path(sys.base_prefix)}
    return sorted(p for p in wanted if p.exists() and not any(p != o and p.is_relative_to(o) for o in wanted))


def make_images(folder: Path, pause: Path, busybox: Path) -> list[Path]:
    """Writes pause, busybox and fullpass (with the user and the environment of k8s/Dockerfile) and returns their files."""
    applets = subprocess.run([str(busybox), "--list"], capture_output=True, text=True, check=True).stdout.split()
    links = {f"bin/{name}": "busybox" for name in applets if name != "busybox"}
    merged = {name: f"usr/{name}" for name in ("bin", "lib", "lib64", "sbin")}
    environment = {
        "PATH": f"{sys.prefix}/bin:{_PATH}",
        "PYTHONPATH": str(_ROOT),
        "HOME": "/tmp",
        "PYTHONUNBUFFERED": "1",
        "TF_CPP_MIN_LOG_LEVEL": "2",
        "RUN_PYTHON_SDK_IN_DEFAULT_ENVIRONMENT": "1",
        VARIABLE: str(Path(start.__file__).parent),  # pods import TensorFlow as the tests do; no lines are counted
    }
    folder.mkdir(parents=True, exist_ok=True)
    passwd = folder / "passwd"
    passwd.write_text("".join(f"{name}:x:{uid}:{uid}::/tmp:/bin/sh\n" for name, uid in _USERS.items()))
    return [
        _image(folder / "pause.tar", _PAUSE, _layer({"pause": pause}, (), {}), {"Cmd": ["/pause"]}),
        _image(
            folder / "busybox.tar",
            BUSYBOX,
            _layer({"bin/busybox": busybox}, (*_DIRECTORIES, "bin", "lib", "lib64", "sbin"), links),
            {"Cmd": ["/bin/sh"], "Env": ["PATH=/bin"]},  # not this machine's programs, which need its libraries
        ),
        _image(
            folder / "fullpass.tar",
            FULLPASS,
            _layer({"etc/passwd": passwd}, _DIRECTORIES, merged),
            {"User": "10001:10001", "WorkingDir": "/tmp", "Env": [f"{k}={v}" for k, v in environment.items()]},
        ),
    ]


def _layer(files: dict[str, Path], directories: tuple[str, ...], links: dict[str, str]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name in directories:
            info = tarfile.TarInfo(name)
            info.type, info.mode = tarfile.DIRTYPE, 0o1777 if name == "tmp" else 0o755
            tar.addfile(info)
        for name, source in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = source.stat().st_size, 0o755
            with open(source, "rb") as content:
                tar.addfile(info, content)
        for name, target in links.items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            tar.addfile(info)
    return buffer.getvalue()


def _image(path: Path, reference: str, layer: bytes, settings: dict) -> Path:
    digest = hashlib.sha256(layer).hexdigest()
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Env": [f"PATH={_PATH}"], "WorkingDir": "/", **settings},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
    }
    config_bytes = json.dumps(config).encode()
    config_name = f"{hashlib.sha256(config_bytes).hexdigest()}.json"
    manifest = [{"Config": config_name, "RepoTags": [reference], "Layers": [f"{digest}/layer.tar"]}]
    parts = {config_name: config_bytes, f"{digest}/layer.tar": layer, "manifest.json": json.dumps(manifest).encode()}
    with tarfile.open(path, "w") as tar:
        for name, data in parts.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path
