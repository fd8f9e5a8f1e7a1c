"""JobSpec from the command line, or from a file with the command line on top."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from cluster.spec import JobSpec
from cluster.spec.job_spec import FORMAT_VERSION
from engine.core.configs import decode
from engine.core.errors import ConfigError
from engine.core.json_text import parse_json

__all__ = ["add_spec_arguments", "spec_from_args"]

# flag → field of JobSpec
_PLAIN = {
    "name": "name",
    "pipeline": "pipeline",
    "step": "step",
    "module": "module",
    "global_batch_size": "global_batch_size",
    "image": "image",
    "image_pull_policy": "image_pull_policy",
    "working_dir": "working_dir",
    "priority_class": "priority_class",
    "queue": "queue",
    "timeout": "timeout_s",
    "keep": "keep_s",
    "grace": "grace_s",
    "max_restarts": "max_restarts",
    "service_account": "service_account",
    "scheduler_name": "scheduler_name",
    "runtime_class": "runtime_class",
    "beam_runner": "beam_runner",
    "run_as_user": "run_as_user",
}
_SOURCES = "claim=NAME, host=/DIR, secret=NAME, config=NAME, csi=DRIVER, empty, empty=SIZE or memory=SIZE"
_PAIRS = (("env", "env"), ("labels", "label"), ("node_selector", "node_selector"), ("annotations", "annotation"))
_WORK = ("pipeline", "step", "module")
_RESOURCES = ("cpu", "memory", "ephemeral_storage", "gpu", "tpu", "tpu_accelerator", "tpu_topology")


def add_spec_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags that describe a job."""
    parser.add_argument(
        "--spec", metavar="FILE", help="JSON or YAML with the fields of JobSpec; flags take precedence over it"
    )
    parser.add_argument("--name", help="of the job: a-z, 0-9 and '-'")
    what = parser.add_argument_group("what runs (one of)")
    what.add_argument("--pipeline", metavar="FILE", help="a pipeline file, in one member")
    what.add_argument("--step", metavar="COMMAND", help="a command of fullpass, e.g. train or analyze")
    what.add_argument("--module", help="your own training program: file.py, package.module or package.module:function")
    what.add_argument("--command", dest="is_command", action="store_true", help="the words after `--` are the program")
    roles = parser.add_argument_group("members")
    roles.add_argument("--workers", type=int, metavar="N", help="default 1")
    roles.add_argument("--ps", type=int, metavar="N", help="parameter servers")
    roles.add_argument("--chief", action="store_true", help="one more member that leads")
    roles.add_argument("--evaluator", action="store_true", help="one more member that evaluates")
    roles.add_argument(
        "--global-batch-size", type=int, metavar="N", help="refuse the job where the members do not divide it"
    )
    roles.add_argument(
        "--max-restarts", type=int, metavar="N", help="how often each member is restarted after a failure (default: 3)"
    )
    roles.add_argument("--timeout", type=int, metavar="SECONDS", help="the job fails after that time")
    roles.add_argument("--grace", type=int, metavar="SECONDS", help="from the request to stop to the kill (60)")
    roles.add_argument("--keep", type=int, metavar="SECONDS", help="how long a finished job is kept (a day)")
    each = parser.add_argument_group("each member")
    each.add_argument("--image", help="container image")
    each.add_argument("--image-pull-policy", choices=("Always", "IfNotPresent", "Never"))
    each.add_argument("--image-pull-secret", action="append", default=[], metavar="SECRET")
    each.add_argument("--cpu", help="cores, e.g. 4 or 500m (1)")
    each.add_argument("--memory", help="e.g. 8Gi (2Gi)")
    each.add_argument("--ephemeral-storage", metavar="SIZE", help="disk of the node for logs and /tmp (4Gi)")
    each.add_argument("--gpu", type=int, metavar="N", help="nvidia.com/gpu")
    each.add_argument("--tpu", type=int, metavar="CHIPS", help="google.com/tpu chips on each node: 1, 4 or 8")
    each.add_argument("--tpu-accelerator", metavar="TYPE", help="e.g. tpu-v5-lite-podslice")
    each.add_argument("--tpu-topology", metavar="AxB", help="chips of the whole slice, e.g. 2x4")
    each.add_argument("--env", action="append", default=[], metavar="NAME=VALUE")
    each.add_argument("--secret", action="append", default=[], metavar="NAME=SECRET:KEY", help="variable from a Secret")
    each.add_argument(
        "--volume",
        action="append",
        default=[],
        metavar="SOURCE:PATH[:ro]",
        help=f"SOURCE is {_SOURCES}",
    )
    each.add_argument(
        "--file", action="append", default=[], metavar="FILE", help="send it along, to /fullpass/files/NAME"
    )
    each.add_argument("--working-dir", metavar="DIR")
    each.add_argument("--run-as-user", type=int, metavar="UID")
    where = parser.add_argument_group("scheduling")
    where.add_argument("--node-selector", action="append", default=[], metavar="LABEL=VALUE")
    where.add_argument("--toleration", action="append", default=[], metavar="KEY[=VALUE][:EFFECT]")
    where.add_argument("--priority-class", metavar="NAME")
    where.add_argument("--queue", metavar="NAME", help="Kueue's LocalQueue")
    where.add_argument("--service-account", metavar="NAME")
    where.add_argument("--scheduler-name", metavar="NAME", help="scheduler that places the pods")
    where.add_argument("--runtime-class", metavar="NAME", help="RuntimeClass of the pods, e.g. gvisor")
    where.add_argument("--annotation", action="append", default=[], metavar="NAME=VALUE", help="on each pod")
    where.add_argument(
        "--pod-patch",
        metavar="FILE",
        help="YAML or JSON that is merged into the pod template (strategic merge), for what no option says: affinity, "
        "topology spread, init containers, sidecars",
    )
    where.add_argument(
        "--beam-runner",
        choices=("flink", "spark"),
        help="the job talks to this session cluster (found in `--runner` of its words)",
    )
    where.add_argument("--label", action="append", default=[], metavar="LABEL=VALUE")


def spec_from_args(args: argparse.Namespace) -> JobSpec:
    """Returns the job that the command line describes.

    Raises:
        ConfigError: a flag that cannot be read, or a job that cannot run.
    """
    data = _load("--spec", args.spec) if args.spec else {}
    if args.pod_patch:
        data["pod_patch"] = _load("--pod-patch", args.pod_patch)
    if args.is_command or any(getattr(args, flag) for flag in _WORK):  # in place of what the file runs
        for field in ("command", *_WORK):
            data.pop(field, None)
    for flag, field in _PLAIN.items():
        if getattr(args, flag) is not None:
            data[field] = getattr(args, flag)
    if "name" not in data:
        raise ConfigError("--name is missing: the job's name, e.g. --name clicks-train")
    if args.is_command:
        if not args.args:
            raise ConfigError("--command needs the program after `--`, e.g. -- python train.py")
        data["command"] = list(args.args)
    elif args.args:
        data["args"] = list(args.args)
    roles = {role: getattr(args, flag) for flag, role in (("workers", "worker"), ("ps", "ps")) if getattr(args, flag)}
    roles |= {role: 1 for role in ("chief", "evaluator") if getattr(args, role)}
    if roles:
        data["roles"] = {**data.get("roles", {"worker": 1}), **roles}
    given = {key: getattr(args, key) for key in _RESOURCES if getattr(args, key) is not None}
    if given:
        data["resources"] = {**data.get("resources", {}), **given}
    for field, flag in _PAIRS:
        pairs = dict(_pair(text, f"--{flag.replace('_', '-')}", "=") for text in getattr(args, flag))
        if pairs:
            data[field] = {**data.get(field, {}), **pairs}
    for field, items in (
        ("secrets", [_secret(text) for text in args.secret]),
        ("volumes", [_volume(text) for text in args.volume]),
        ("tolerations", [_toleration(text) for text in args.toleration]),
        ("image_pull_secrets", list(args.image_pull_secret)),
    ):
        if items:
            data[field] = [*data.get(field, []), *items]
    if args.file:
        data["files"] = {**data.get("files", {}), **{Path(path).name: _read(path) for path in args.file}}
    return decode(JobSpec, data, version=FORMAT_VERSION)


def _load(flag: str, path: str) -> dict[str, Any]:
    text = _read(path)
    try:
        data = _yaml(text) if path.endswith((".yaml", ".yml")) else parse_json(text, unique=True)
    except ValueError as error:
        raise ConfigError(f"{flag} {path}: {error}") from error
    if not isinstance(data, dict):
        raise ConfigError(f"{flag} {path}: expected an object, seen {type(data).__name__}")
    return data


def _yaml(text: str) -> Any:
    """Returns the value of a YAML text.

    Raises:
        ValueError: it is none, too deep, or has a key twice, of which YAML's own reader takes the last without a word.
    """
    import yaml

    class Once(yaml.SafeLoader):
        # Where it is composed: later, a mapping that was merged into has the keys of both.
        def compose_mapping_node(self, anchor: Any) -> Any:
            node = super().compose_mapping_node(anchor)
            seen: set[tuple[str, str]] = set()
            for key, _ in node.value:
                # `<<` takes over what another mapping has, and may come twice.
                if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                    if (key.tag, key.value) in seen:
                        raise ValueError(
                            f"key {key.value!r} is given twice, the second time in line {key.start_mark.line + 1}"
                        )
                    seen.add((key.tag, key.value))
            return node

    try:
        return yaml.load(text, Once)  # noqa: S506  # nosec B506 - a SafeLoader
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except (IndexError, KeyError, TypeError, AttributeError) as error:  # of PyYAML's own, for `!!int ''` and the like
        raise ValueError(f"a value that is not of its tag: {error}") from None


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is not text; put it on a volume or into the image") from None


def _pair(text: str, flag: str, sign: str) -> tuple[str, str]:
    key, found, value = text.partition(sign)
    if not found or not key:
        shown = "" if flag == "--env" else f" {text}"  # what is misspelt may be a secret all the same
        raise ConfigError(f"{flag}{shown}: expected NAME{sign}VALUE")
    return key, value


def _secret(text: str) -> dict[str, str]:
    name, reference = _pair(text, "--secret", "=")
    secret, key = _pair(reference, f"--secret {name}=", ":")
    return {"name": name, "secret": secret, "key": key}


def _volume(text: str) -> dict[str, Any]:
    source, *rest = text.split(":")
    if not 1 <= len(rest) <= 2 or (len(rest) == 2 and rest[1] not in ("ro", "rw")):
        raise ConfigError(f"--volume {text}: expected SOURCE:PATH or SOURCE:PATH:ro")
    out: dict[str, Any] = {"mount_path": rest[0]}
    if rest[1:] == ["ro"]:
        out["read_only"] = True
    key, _, value = source.partition("=")
    names = {"claim": "claim", "host": "host_path", "secret": "secret", "config": "config_map", "csi": "csi_driver"}
    if key in names and value:
        return {**out, names[key]: value}
    if key == "empty":
        return {**out, "empty_dir": True, **({"size": value} if value else {})}
    if key == "memory" and value:
        return {**out, "empty_dir": True, "medium": "Memory", "size": value}
    raise ConfigError(f"--volume {text}: SOURCE is {_SOURCES}")


def _toleration(text: str) -> dict[str, str]:
    taint, _, effect = text.partition(":")
    key, equal, value = taint.partition("=")
    out = {"key": key, "operator": "Equal" if equal else "Exists", "value": value, "effect": effect}
    return {name: item for name, item in out.items() if item}
