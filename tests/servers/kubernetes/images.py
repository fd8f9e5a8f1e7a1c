"""Container images made by hand, since no registry is needed: docker-archive files for `ctr image import`."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import tarfile
from pathlib import Path

__all__ = ["BUSYBOX", "HOSTROOT", "make_images"]

BUSYBOX = "localhost/busybox:local"
HOSTROOT = "localhost/hostroot:local"
_PAUSE = "localhost/pause:local"
_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_DIRECTORIES = ("etc", "tmp", "proc", "sys", "dev", "usr", "opt", "root", "var", "work", "home")


def make_images(folder: Path, pause: Path, busybox: Path) -> list[Path]:
    """Writes pause, busybox and hostroot (empty; this machine's directories are mounted into it) and returns their files."""
    applets = subprocess.run([str(busybox), "--list"], capture_output=True, text=True, check=True).stdout.split()
    links = {f"bin/{name}": "busybox" for name in applets if name != "busybox"}
    merged = {name: f"usr/{name}" for name in ("bin", "lib", "lib64", "sbin")}
    folder.mkdir(parents=True, exist_ok=True)
    return [
        _image(folder / "pause.tar", _PAUSE, _layer({"pause": pause}, (), {}), ["/pause"]),
        _image(
            folder / "busybox.tar",
            BUSYBOX,
            _layer({"bin/busybox": busybox}, (*_DIRECTORIES, "bin", "lib", "lib64", "sbin"), links),
            ["/bin/sh"],
        ),
        _image(folder / "hostroot.tar", HOSTROOT, _layer({}, _DIRECTORIES, merged), ["/bin/sh"]),
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


def _image(path: Path, reference: str, layer: bytes, command: list[str]) -> Path:
    digest = hashlib.sha256(layer).hexdigest()
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Env": [_PATH], "Cmd": command, "WorkingDir": "/"},
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
