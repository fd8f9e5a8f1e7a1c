"""`JobSpec`: what runs, with what, and how often it may start again. Where it runs is the launcher's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cluster.spec.names import (
    check_annotations,
    check_env_name,
    check_job_name,
    check_label,
    check_object_name,
    is_own_label,
)
from cluster.spec.quantity import format_bytes
from cluster.spec.resources import Resources
from cluster.spec.scheduling import Toleration
from cluster.spec.volumes import SecretEnv, Volume
from engine.core import exit_codes
from engine.core.configs import decode_json, encode_json
from engine.core.environment import VARIABLES
from engine.core.errors import ConfigError

__all__ = ["FILES_MOUNT", "FORMAT_VERSION", "GROUP_MOUNT", "ROLES", "JobSpec"]

FORMAT_VERSION = 1
ROLES = ("chief", "worker", "ps", "evaluator")
FILES_MOUNT = "/fullpass/files"
GROUP_MOUNT = "/fullpass/group"
_OWN_VARIABLES = ("TF_CONFIG", *(variable.name for variable in VARIABLES if variable.internal))
_FILES_BYTES = 900 << 10  # a ConfigMap holds 1 MiB with its own fields
_LEAVE_S = 5
_WORK = ("pipeline", "step", "module", "command")
_TUPLES = (
    "command", "args", "image_pull_secrets", "secrets", "volumes", "tolerations", "topology_spread", "init_containers",
)  # fmt: skip
_MAPPINGS = (
    "roles", "role_resources", "env", "files", "node_selector", "labels", "affinity", "annotations", "pod_patch",
)  # fmt: skip
_BEAM_RUNNERS = ("flink", "spark")


@dataclass(frozen=True, kw_only=True)
class JobSpec:
    """One job, checked when built; every launcher takes it.

    Exactly one of `pipeline`, `step`, `module` and `command` says what runs.

    Attributes:
        name: of the job, of its pods and of their host names.
        pipeline: path of a pipeline file as a pod sees it; runs in one pod.
        step: a command of `fullpass`, e.g. "train"; only "train" runs in several pods.
        module: a training program of your own, supervised like "train": "file.py", "package.module" or
            "package.module:function".
        command: any program and its arguments, as they are.
        args: words after that.
        roles: role → number of pods; roles are chief, worker, ps and evaluator.
        global_batch_size: records a step over all replicas; only to check that the roles divide it.
        image: container image.
        image_pull_policy: "Always", "IfNotPresent" or "Never"; None leaves it to Kubernetes.
        image_pull_secrets: Secrets with registry credentials.
        resources: of each pod.
        role_resources: role → resources, where a role needs others.
        env: variable → value.
        secrets: variables whose values stay in Secrets.
        volumes: directories in each pod.
        files: file name → text; each pod sees it in /fullpass/files.
        working_dir: directory that the program starts in.
        node_selector: labels that a node must have.
        tolerations: taints that pods tolerate.
        affinity: of pods, as Kubernetes writes it.
        topology_spread: topologySpreadConstraints of pods, as Kubernetes writes them.
        scheduler_name: scheduler that places the pods; None for the cluster's own.
        runtime_class: name of a RuntimeClass.
        init_containers: that run before the member, as Kubernetes writes them.
        annotations: on every pod.
        pod_patch: strategic merge patch of the pod template, for what no field here says.
        beam_runner: "flink" or "spark", where the job talks to one; found in `--runner` of args where None.
        priority_class: name of a PriorityClass.
        queue: Kueue's LocalQueue; the job is created suspended and waits to be admitted.
        timeout_s: seconds from start after which the job fails.
        keep_s: seconds that a finished job's objects are kept.
        grace_s: seconds between the request to stop and the kill; the time to write a checkpoint.
        max_restarts: how often each pod may fail and be replaced before the job fails.
        silent_after_s: a supervised process that gives no sign of life for so long is restarted. Short of CPU, tracing
            a model can take seconds without any.
        labels: on every object.
        service_account: that pods run as.
        run_as_user: numeric user of the pods; None leaves it to the image, which must not be root.
        read_only_root: mount the image's file system read-only, with a writable /tmp.

    Raises:
        ConfigError: anything that no launcher could run.
    """

    name: str
    pipeline: str | None = None
    step: str | None = None
    module: str | None = None
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    roles: Mapping[str, int] = field(default_factory=lambda: {"worker": 1})
    global_batch_size: int | None = None
    image: str = "fullpass:latest"
    image_pull_policy: str | None = None
    image_pull_secrets: tuple[str, ...] = ()
    resources: Resources = field(default_factory=Resources)
    role_resources: Mapping[str, Resources] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    secrets: tuple[SecretEnv, ...] = ()
    volumes: tuple[Volume, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    working_dir: str | None = None
    node_selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: tuple[Toleration, ...] = ()
    affinity: Mapping[str, Any] = field(default_factory=dict)
    topology_spread: tuple[Mapping[str, Any], ...] = ()
    scheduler_name: str | None = None
    runtime_class: str | None = None
    init_containers: tuple[Mapping[str, Any], ...] = ()
    annotations: Mapping[str, str] = field(default_factory=dict)
    pod_patch: Mapping[str, Any] = field(default_factory=dict)
    beam_runner: str | None = None
    priority_class: str | None = None
    queue: str | None = None
    timeout_s: int | None = None
    keep_s: int | None = 24 * 3600
    grace_s: int = 60
    max_restarts: int = 3
    silent_after_s: int = 60
    labels: Mapping[str, str] = field(default_factory=dict)
    service_account: str | None = None
    run_as_user: int | None = None
    read_only_root: bool = True

    def __post_init__(self) -> None:
        for key in _TUPLES:
            if isinstance(getattr(self, key), str):
                raise ConfigError(f"{key}: got {getattr(self, key)!r}; expected a list, seen one text")
            object.__setattr__(self, key, tuple(getattr(self, key)))
        for key in _MAPPINGS:
            if not isinstance(getattr(self, key), Mapping):
                raise ConfigError(f"{key}: got a {type(getattr(self, key)).__name__}; expected a table")
            object.__setattr__(self, key, dict(getattr(self, key)))
        check_job_name(self.name)
        if self.beam_runner is None:
            object.__setattr__(self, "beam_runner", _beam_runner([*self.command, *self.args]))
        elif self.beam_runner not in _BEAM_RUNNERS:
            raise ConfigError(f"beam_runner: got {self.beam_runner!r}; expected one of {', '.join(_BEAM_RUNNERS)}")
        self._check_work()
        self._check_roles()
        self._check_names()
        self._check_volumes()
        self._check_limits()
        self._check_tpu()

    def _check_work(self) -> None:
        given = [key for key in _WORK if getattr(self, key)]
        if len(given) != 1:
            raise ConfigError(f"give exactly one of {', '.join(_WORK)}; seen {', '.join(given) or 'none'}")
        for key in ("command", "args"):
            for word in getattr(self, key):
                if not isinstance(word, str):
                    raise ConfigError(f"{key}: got {word!r}; expected a text")

    def _check_roles(self) -> None:
        for role, count in self.roles.items():
            if role not in ROLES:
                raise ConfigError(f"roles: got {role!r}; expected {', '.join(ROLES)}")
            if not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= 10_000:
                raise ConfigError(
                    f"roles.{role}: got {count!r}; expected a whole number from 1 (leave the role out for none)"
                )
        for role in ("chief", "evaluator"):
            if self.roles.get(role, 0) > 1:
                raise ConfigError(f"roles.{role}: got {self.roles[role]}; expected only one")
        if not self.roles.get("worker") and not self.roles.get("chief"):
            raise ConfigError(f"roles: got {dict(self.roles)}; expected at least one worker or a chief, which train")
        if self.roles.get("ps") and not self.roles.get("worker"):
            raise ConfigError(f"roles: got {dict(self.roles)}; parameter servers (ps) need workers")
        if self.num_pods > 1 and (self.pipeline or (self.step and self.step != "train")):
            what = "a pipeline" if self.pipeline else f"step {self.step!r}"
            raise ConfigError(
                f"roles: {what} runs in one pod, {self.num_pods} were asked for; only 'train' is distributed"
            )
        unknown = set(self.role_resources) - set(self.roles)
        if unknown:
            raise ConfigError(f"role_resources: {', '.join(sorted(unknown))} not in roles ({', '.join(self.roles)})")
        if self.global_batch_size is not None:
            if self.global_batch_size < 1:
                raise ConfigError(f"global_batch_size: got {self.global_batch_size}; expected at least 1")
            replicas = self.num_replicas
            if self.global_batch_size % replicas:
                below = self.global_batch_size // replicas * replicas
                raise ConfigError(
                    f"global_batch_size: got {self.global_batch_size}; expected a multiple of {replicas} replicas "
                    f"({self.num_trainers} pods); the nearest are {below or replicas} and {below + replicas}"
                )

    def _check_names(self) -> None:
        if not self.image or self.image.strip() != self.image or " " in self.image:
            raise ConfigError(f"image: got {self.image!r}; expected the name of an image")
        if self.image_pull_policy not in (None, "Always", "IfNotPresent", "Never"):
            raise ConfigError(
                f"image_pull_policy: got {self.image_pull_policy!r}; expected Always, IfNotPresent or Never"
            )
        for key in ("priority_class", "queue", "service_account", "scheduler_name", "runtime_class"):
            if getattr(self, key) is not None:
                check_object_name(getattr(self, key), key)
        for name in self.image_pull_secrets:
            check_object_name(name, "image_pull_secrets")
        for name, value in self.env.items():
            check_env_name(name, "env")
            if not isinstance(value, str):
                # Its value may be a secret: only its type is said.
                raise ConfigError(
                    f"env.{name}: got a value that is not shown ({type(value).__name__}); expected a text"
                )
            if not _is_passable(value):
                raise ConfigError(
                    f"env.{name}: its value has a NUL, or half a character, which no program can be given"
                )
        for word in (*self.command, *self.args):
            if not _is_passable(word):
                raise ConfigError(f"the word {word!r} has a NUL, or half a character, which no program can be given")
        names = [*self.env, *(s.name for s in self.secrets)]
        for name in names:
            if name in _OWN_VARIABLES:
                raise ConfigError(f"env: {name} is set by the launcher, for each pod its own")
            if names.count(name) > 1:
                raise ConfigError(f"env: {name} is given twice (env and secrets)")
        check_annotations(self.annotations, "annotations")
        for key in ("labels", "node_selector"):
            for label, value in getattr(self, key).items():
                check_label(label, value, key)
                if key == "labels" and is_own_label(label):
                    raise ConfigError(f"labels: {label} is set by the launcher: whom a pod may reach goes by it")

    def _check_volumes(self) -> None:
        paths = [volume.mount_path.rstrip("/") for volume in self.volumes]
        for path in paths:
            if paths.count(path) > 1:
                raise ConfigError(f"volumes: {path} is mounted twice")
            if path == FILES_MOUNT:
                raise ConfigError(f"volumes: {FILES_MOUNT} is where `files` are")
            if path == GROUP_MOUNT:
                raise ConfigError(f"volumes: {GROUP_MOUNT} is where the group's secret is")
        in_memory = sum(volume.memory_bytes for volume in self.volumes)
        for role in self.roles:
            memory = self.resources_of(role).memory_bytes
            if in_memory >= memory:
                raise ConfigError(
                    f"volumes in memory take {format_bytes(in_memory)} of the {format_bytes(memory)} of each {role}: "
                    "raise memory or make them smaller"
                )
        for name in self.files:
            if (
                not name.strip(".")
                or "/" in name
                or name.startswith("..")
                or not all(c.isalnum() or c in "-_." for c in name)
            ):
                raise ConfigError(f"files: {name!r} must be a plain file name of letters, digits, '-', '_', '.'")
        size = sum(len(text.encode()) for text in self.files.values())
        if size > _FILES_BYTES:
            raise ConfigError(
                f"files: {format_bytes(size)} are more than the {format_bytes(_FILES_BYTES)} of a ConfigMap; use a volume"
            )
        if self.working_dir is not None and not self.working_dir.startswith("/"):
            raise ConfigError(f"working_dir: got {self.working_dir!r}; expected an absolute path")

    def _check_limits(self) -> None:
        for key, least in (
            ("timeout_s", 1),
            ("keep_s", 0),
            ("grace_s", 0),
            ("max_restarts", 0),
            ("silent_after_s", 1),
            ("run_as_user", 0),
        ):
            value = getattr(self, key)
            if value is None and key not in ("grace_s", "max_restarts", "silent_after_s"):
                continue
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise ConfigError(f"{key}: got {value!r}; expected a whole number from {least}")

    def _check_tpu(self) -> None:
        for role in self.roles:
            resources = self.resources_of(role)
            nodes = resources.tpu_chips // resources.tpu if resources.tpu else 0
            if nodes and nodes != self.roles[role]:
                raise ConfigError(
                    f"tpu_topology = {resources.tpu_topology!r} is {nodes} nodes of {resources.tpu} chips; {role} = {self.roles[role]}"
                )

    def resources_of(self, role: str) -> Resources:
        """Returns what each pod of a role asks for."""
        return self.role_resources.get(role, self.resources)

    @property
    def num_pods(self) -> int:
        """Pods in all."""
        return sum(self.roles.values())

    @property
    def num_trainers(self) -> int:
        """Pods that train: chief and workers."""
        return self.roles.get("chief", 0) + self.roles.get("worker", 0)

    @property
    def num_replicas(self) -> int:
        """Model replicas: one an accelerator of each pod that trains, one a pod without any."""
        trainers = ("chief", "worker")
        each = {r: max(1, self.resources_of(r).gpu or self.resources_of(r).tpu) for r in trainers}
        return sum(self.roles.get(r, 0) * each[r] for r in trainers)

    @property
    def supervised(self) -> bool:
        """Whether pods run under Fullpass's supervisor, which restarts a group whose member died."""
        return self.step == "train" or self.module is not None

    @property
    def final_exit_codes(self) -> tuple[int, ...]:
        """Exit codes of a member that starting it again would only bring back.

        1 is final of a supervisor alone, which has given up; of a command it is an error of the machine, which may pass.
        """
        if self.supervised:
            return (exit_codes.FAILED, *exit_codes.FINAL)
        return (exit_codes.WRONG_INPUT,) if self.command else exit_codes.FINAL

    def words(self, python: str = "python") -> list[str]:
        """Returns the command line of each pod.

        Args:
            python: the interpreter.
        """
        if self.command:
            return [*self.command, *self.args]
        if self.pipeline:
            return [python, "-m", "cluster.cli.main", "run", self.pipeline, *self.args]
        if self.step and not self.supervised:
            return [python, "-m", "cluster.cli.main", self.step, *self.args]
        limits = ["--max-restarts", str(self.max_restarts), "--silent-after", str(self.silent_after_s)]
        # The supervisor must be gone before the pod is killed: it tells the others that this member left.
        limits += ["--grace", str(max(1, self.grace_s - _LEAVE_S))]
        supervisor = [python, "-m", "trainers.supervision.worker", *limits, "--"]
        if self.step:
            return [*supervisor, "-m", "cluster.cli.main", self.step, *self.args]
        assert self.module is not None
        plain = self.module.endswith(".py") or ":" in self.module
        return [*supervisor, *([self.module] if plain else ["-m", self.module]), *self.args]

    def members(self) -> list[tuple[str, int]]:
        """Returns (role, index) of each pod: chief, then workers, parameter servers, the evaluator."""
        return [(role, index) for role in ROLES for index in range(self.roles.get(role, 0))]

    def to_json(self) -> str:
        """Returns the description as JSON text, without what is at its default; `from_json` gives an equal one."""
        return encode_json(self, FORMAT_VERSION)

    @staticmethod
    def from_json(text: str) -> JobSpec:
        """Returns the description that `to_json` wrote, or one written by hand, checked anew.

        Raises:
            ConfigError: not JSON, another version, an unknown key, or a value that is refused.
        """
        return decode_json(JobSpec, text, version=FORMAT_VERSION)


def _beam_runner(words: list[str]) -> str | None:
    for word, following in zip(words, [*words[1:], ""]):
        name = word.removeprefix("--runner=") if word.startswith("--runner=") else following
        if word.startswith("--runner") and name in _BEAM_RUNNERS:
            return name
    return None


def _is_passable(text: str) -> bool:
    """Returns whether a system takes the text as a word or value of a program; bytes that are no UTF-8 are not of JSON."""
    try:
        return b"\0" not in text.encode()
    except UnicodeEncodeError:
        return False
