"""`run_fn` on several supervised workers of this machine, where TFX's Trainer knows one process."""

from __future__ import annotations

import hashlib
import hmac
import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from engine.core.errors import ConfigError, FullpassError

__all__ = ["TrainingFailed", "run_workers", "work"]

# What a worker needs of FnArgs; the rest (data_accessor) holds live objects, and our reader does not use them.
_ARGUMENTS = (
    "train_files", "eval_files", "train_steps", "eval_steps", "schema_path", "schema_file", "transform_graph_path",
    "transform_output", "serving_model_dir", "model_run_dir", "base_model", "hyperparameters", "custom_config",
)  # fmt: skip


class TrainingFailed(FullpassError):
    """The group of workers gave up; the message says where its logs lie."""


def run_workers(fn_args: Any, settings: Mapping[str, Any], workers: int) -> None:
    """Trains on `workers` processes that are restarted when they die; returns when the model is written.

    Args:
        fn_args: TFX's FnArgs.
        settings: of `make_run_fn` and custom_config; `max_restarts` goes to the supervisors.
        workers: 2 or more.

    Raises:
        ConfigError: a build_model that cannot be sent to another process, or wrong input that a worker met.
        TrainingFailed: the group gave up.
    """
    from trainers.supervision.local_group import run_local_group
    from trainers.tfx.training import log_directory

    if settings.get("strategy", "auto") == "one_device":
        raise ConfigError(f"strategy='one_device' with workers={workers}: leave it 'auto', or give workers=1")
    if "://" in fn_args.model_run_dir:
        raise ConfigError(f"workers={workers} need a local model_run_dir, this one is {fn_args.model_run_dir}")
    logs = settings.get("log_dir") or log_directory(fn_args)
    restarts = settings.get("max_restarts")
    options = [] if restarts is None else ["--max-restarts", str(restarts)]
    path = os.pathsep.join(dict.fromkeys(os.path.abspath(entry) for entry in sys.path))
    # Code travels in it, so it must lie where nobody else may write: model_run_dir is often shared.
    with tempfile.TemporaryDirectory(prefix="fullpass-job-") as private:
        job = Path(private) / "workers.job"
        packed = _packed(fn_args, settings)
        job.touch(mode=0o600)
        job.write_bytes(packed)
        target = ["trainers.tfx.workers:work", str(job), hashlib.sha256(packed).hexdigest()]
        code = run_local_group(workers, target, logs, env={"PYTHONPATH": path}, options=options)
    if code:
        kind = ConfigError if code == 2 else TrainingFailed
        raise kind(
            f"the group of {workers} workers ended with exit code {code}:\n{_last_lines(Path(logs))}\nAll logs: {logs}"
        )


def work(job: str, digest: str) -> None:
    """Trains as one member of the group; what the supervisor of a worker runs.

    Args:
        job: file that `run_workers` wrote.
        digest: sha256 of what it wrote, in hexadecimal. It came as a word of this process's command, which nobody else writes, and so
            vouches for the file as a keyed hash would.

    Raises:
        ConfigError: somebody else may have written the file, or it holds something else.
    """
    import cloudpickle

    from trainers.tfx.training import train_from

    _check_private(Path(job))
    packed = Path(job).read_bytes()  # once: what is hashed is what is loaded
    if not hmac.compare_digest(hashlib.sha256(packed).hexdigest(), digest):
        raise ConfigError(f"{job}: is not the file that the trainer wrote for its workers; run the training again")
    arguments, settings = cloudpickle.loads(packed)
    train_from(SimpleNamespace(**arguments), settings)


def _check_private(job: Path) -> None:
    for path in (job, job.parent):
        found = path.stat()
        if found.st_uid != os.getuid() or found.st_mode & 0o022:
            raise ConfigError(
                f"{path}: user {found.st_uid} owns it, mode {found.st_mode & 0o777:o}; code is only taken from a file that "
                f"no other user than {os.getuid()} may write"
            )


def _packed(fn_args: Any, settings: Mapping[str, Any]) -> bytes:
    import cloudpickle

    arguments = {name: getattr(fn_args, name, None) for name in _ARGUMENTS}
    build_model = settings.get("build_model")
    # TFX loads the user's file under a name that another process does not know: the function travels by value.
    module = sys.modules.get(getattr(build_model, "__module__", "") or "")
    by_value = module is not None and module.__name__ != "__main__"
    try:
        if by_value:
            cloudpickle.register_pickle_by_value(module)
        pickled: bytes = cloudpickle.dumps((arguments, dict(settings)))
        return pickled
    except Exception as error:
        raise ConfigError(
            f"build_model cannot be sent to the workers: {type(error).__name__}: {error}; give its name, "
            "custom_config={'build_model': 'package.module.build_model'}"
        ) from error
    finally:
        if by_value:
            cloudpickle.unregister_pickle_by_value(module)


def _last_lines(logs: Path, count: int = 15) -> str:
    shown = []
    for file in sorted(logs.glob("*.supervisor.log")):
        lines = file.read_text(errors="replace").splitlines()[-count:]
        if lines:
            shown += [f"{file.name}:", *(f"  {line}" for line in lines)]
    return "\n".join(shown)
