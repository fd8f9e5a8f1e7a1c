"""The few calls that the launcher makes, through the Kubernetes client; objects are plain dicts both ways."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from cluster.launchers.base import LauncherError
from cluster.launchers.kubernetes.api.errors import api_errors
from cluster.launchers.kubernetes.kinds.kind import Kind
from engine.core.errors import ConfigError
from engine.machine.clock import seconds_since

__all__ = ["Api"]

Object = dict[str, Any]

_TIMEOUT = (5, 30)  # seconds to connect, and between two bytes
_PLURALS = {"Job": "jobs", "TrainingRuntime": "trainingruntimes", "NetworkPolicy": "networkpolicies"}
_ATTEMPTS = 10
_CORE = {"Service": "service", "ConfigMap": "config_map", "Secret": "secret"}


class Api:
    """A connection to one namespace of one cluster.

    Args:
        kubeconfig: file; where None, $KUBECONFIG, ~/.kube/config, or the service account of this pod.
        context: of the kubeconfig; where None, its current one.
        namespace: where None, the context's.

    Raises:
        ConfigError: there is no usable kubeconfig.
    """

    def __init__(self, kubeconfig: str | None, context: str | None, namespace: str | None) -> None:
        from kubernetes import client, config
        from kubernetes.config.config_exception import ConfigException

        configuration = client.Configuration()
        try:
            config.load_kube_config(kubeconfig, context=context, client_configuration=configuration)
            found = _namespace_of(config, kubeconfig, context)
        except ConfigException as error:
            if kubeconfig or context:
                raise ConfigError(f"kubeconfig: {error}") from error
            try:
                config.load_incluster_config(client_configuration=configuration)
                with open("/var/run/secrets/kubernetes.io/serviceaccount/namespace") as file:
                    found = file.read().strip()
            except (ConfigException, OSError):
                raise ConfigError(
                    f"no Kubernetes cluster: {error}; set KUBECONFIG or give --kubeconfig FILE"
                ) from error
        configuration.retries = 1
        client_ = client.ApiClient(configuration)
        self.namespace = namespace or found or "default"
        self.server = configuration.host
        self._core, self._custom = client.CoreV1Api(client_), client.CustomObjectsApi(client_)
        # Objects of the client as dictionaries, as the API has them.
        self._plain: Callable[[Any], Any] = client_.sanitize_for_serialization

    def create(self, obj: Object, kind: Kind, *, dry_run: bool) -> Object:
        """Creates an object of a job of this kind, or asks whether it could be, and returns it."""
        options = {"dry_run": "All"} if dry_run else {}
        what = f"create {obj['kind']} {obj['metadata']['name']} in namespace {self.namespace}"
        if obj["kind"] in _CORE:
            call = getattr(self._core, f"create_namespaced_{_CORE[obj['kind']]}")
            with api_errors(what):
                created: Object = self._plain(call(self.namespace, obj, _request_timeout=_TIMEOUT, **options))
                return created
        group, _, version = obj["apiVersion"].partition("/")
        plural = kind.plural if obj["kind"] == kind.object_kind else _PLURALS[obj["kind"]]
        with api_errors(what, kind.needs):
            custom: Object = self._custom.create_namespaced_custom_object(
                group, version, self.namespace, plural, obj, _request_timeout=_TIMEOUT, **options
            )
            return custom

    def pod_security(self) -> str | None:
        """Returns the level of pod security that the namespace enforces, None where there is none or it may not be read."""
        try:
            with api_errors(f"read namespace {self.namespace}"):
                found = self._core.read_namespace(self.namespace, _request_timeout=_TIMEOUT)
        except LauncherError:  # an early word, no need: the API refuses the pods in any case
            return None
        return (found.metadata.labels or {}).get("pod-security.kubernetes.io/enforce")

    def own(self, obj: Object, owner: Object) -> None:
        """Makes a custom object go when its owner goes.

        Args:
            obj: as it was rendered.
            owner: owner reference.
        """
        from kubernetes.client.exceptions import ApiException

        group, _, version = obj["apiVersion"].partition("/")
        name, plural = obj["metadata"]["name"], _PLURALS[obj["kind"]]
        with api_errors(f"change {obj['kind']} {name} in namespace {self.namespace}"):
            for attempt in range(_ATTEMPTS):
                now = self._custom.get_namespaced_custom_object(
                    group, version, self.namespace, plural, name, _request_timeout=_TIMEOUT
                )
                now["metadata"]["ownerReferences"] = [owner]
                try:  # patches would be shorter, but the client's releases disagree about their content type
                    self._custom.replace_namespaced_custom_object(
                        group, version, self.namespace, plural, name, now, _request_timeout=_TIMEOUT
                    )
                    return
                except ApiException as error:  # a controller changed it in between
                    if error.status != 409 or attempt == _ATTEMPTS - 1:
                        raise

    def remove(self, obj: Object) -> None:
        """Deletes a custom object as it was rendered."""
        group, _, version = obj["apiVersion"].partition("/")
        name, plural = obj["metadata"]["name"], _PLURALS[obj["kind"]]
        with api_errors(f"delete {obj['kind']} {name} in namespace {self.namespace}"):
            self._custom.delete_namespaced_custom_object(
                group, version, self.namespace, plural, name, _request_timeout=_TIMEOUT
            )

    def get(self, kind: Kind, name: str) -> Object:
        """Returns the object that runs a job.

        Raises:
            JobNotFound: there is none.
        """
        group, _, version = kind.api_version.partition("/")
        with api_errors(f"find {kind.object_kind} {name} in namespace {self.namespace}"):
            found: Object = self._custom.get_namespaced_custom_object(
                group, version, self.namespace, kind.plural, name, _request_timeout=_TIMEOUT
            )
            return found

    def jobs(self, kind: Kind) -> list[Object]:
        """Returns the objects of all jobs of a kind."""
        group, _, version = kind.api_version.partition("/")
        with api_errors(f"list {kind.plural} in namespace {self.namespace}", kind.needs):
            found = self._custom.list_namespaced_custom_object(
                group, version, self.namespace, kind.plural, label_selector="fullpass/job", _request_timeout=_TIMEOUT
            )
        objects: list[Object] = found["items"]
        return objects

    def delete(self, kind: Kind, name: str) -> None:
        """Deletes the object that runs a job; what it owns follows.

        Raises:
            JobNotFound: there is none.
        """
        group, _, version = kind.api_version.partition("/")
        with api_errors(f"delete {kind.object_kind} {name} in namespace {self.namespace}"):
            self._custom.delete_namespaced_custom_object(
                group,
                version,
                self.namespace,
                kind.plural,
                name,
                body={"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"},
                _request_timeout=_TIMEOUT,
            )

    def pods(self, kind: Kind, job: str) -> list[Object]:
        """Returns the pods of a job, the oldest first."""
        with api_errors(f"list pods in namespace {self.namespace}"):
            found = self._core.list_namespaced_pod(
                self.namespace,
                label_selector=f"fullpass/job={job},fullpass/kind={kind.name}",
                _request_timeout=_TIMEOUT,
            )
        return sorted(self._plain(found.items), key=lambda pod: pod["metadata"]["creationTimestamp"])

    def leftovers(self, kind: Kind, job: str) -> list[str]:
        """Returns what is still there of a job, as "kind name": pods, services, config maps, owned custom objects."""
        selector = f"fullpass/job={job},fullpass/kind={kind.name}"
        out = []
        with api_errors(f"list what is left of {job} in namespace {self.namespace}"):
            for what in ("pod", "service", "config_map"):
                found = getattr(self._core, f"list_namespaced_{what}")(
                    self.namespace, label_selector=selector, _request_timeout=_TIMEOUT
                )
                out += [f"{what} {item.metadata.name}" for item in found.items]
            for other in sorted(kind.before):
                group, _, version = kind.api_version.partition("/")
                listed = self._custom.list_namespaced_custom_object(
                    group, version, self.namespace, _PLURALS[other], label_selector=selector, _request_timeout=_TIMEOUT
                )
                out += [f"{other} {item['metadata']['name']}" for item in listed["items"]]
        return out

    def pod(self, name: str) -> Object | None:
        """Returns a pod, or None where it is gone."""
        from kubernetes.client.exceptions import ApiException

        with api_errors(f"find pod {name}"):
            try:
                found: Object = self._plain(
                    self._core.read_namespaced_pod(name, self.namespace, _request_timeout=_TIMEOUT)
                )
                return found
            except ApiException as error:
                if error.status == 404:
                    return None
                raise

    def events(self, obj: Object) -> list[Object]:
        """Returns the events of an object, the oldest first; none where they may not be read."""
        try:
            with api_errors(f"list events in namespace {self.namespace}"):
                found = self._core.list_namespaced_event(
                    self.namespace,
                    field_selector=f"involvedObject.uid={obj['metadata']['uid']}",
                    _request_timeout=_TIMEOUT,
                )
        except LauncherError:  # a help for messages, no need
            return []
        return sorted(self._plain(found.items), key=_event_time)

    def log_lines(self, pod: str, *, follow: bool, since: str | None, tail: int | None) -> Iterator[str]:
        """Yields the lines of a pod's log, each with its time in front.

        Args:
            pod: name.
            follow: go on until the container ends.
            since: RFC 3339 time of the first line wanted, in whole seconds.
            tail: only the last lines.
        """
        options: dict[str, Any] = {"follow": follow, "timestamps": True, "_preload_content": False}
        if since:
            options["since_seconds"] = max(1, seconds_since(since))
        if tail is not None:
            options["tail_lines"] = tail
        # A quiet log is not a dead connection, but one that is quiet for a minute is opened anew to be sure.
        with api_errors(f"read the log of pod {pod}"):
            reply = self._core.read_namespaced_pod_log(pod, self.namespace, _request_timeout=(5, 60), **options)
            rest = b""
            try:
                for chunk in reply.stream(amt=None, decode_content=False):
                    *lines, rest = (rest + chunk).split(b"\n")
                    for line in lines:
                        yield line.decode(errors="replace")
                if rest:
                    yield rest.decode(errors="replace")
            finally:
                reply.release_conn()


def _namespace_of(config: Any, kubeconfig: str | None, context: str | None) -> str:
    contexts, active = config.list_kube_config_contexts(kubeconfig)
    chosen = next((c for c in contexts if c["name"] == context), active)
    return str(chosen["context"].get("namespace", ""))


def _event_time(event: Object) -> str:
    return event.get("lastTimestamp") or event.get("eventTime") or event["metadata"].get("creationTimestamp") or ""
