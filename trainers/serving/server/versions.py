"""Versions of one model: found, loaded beside the live ones, swapped between two requests, let go when the last answer is out."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import logging
import os
import random
import shutil
import tempfile
import threading
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from engine.core.errors import DataError
from engine.core.redaction import redact
from engine.storage import tree
from trainers.export.card import read_card
from trainers.export.digest import model_digest
from trainers.export.feature_names import read_feature_names
from trainers.serving.golden import check_golden
from trainers.serving.loading import files_of, load_model
from trainers.serving.server.config import Limits, ModelConfig
from trainers.serving.server.errors import FailedPrecondition, InvalidRequest, NotFound, RequestError, Unavailable
from trainers.serving.server.loads.attempts import Attempts
from trainers.serving.server.loads.room import check_room
from trainers.serving.server.loads.warmup import warm_up
from trainers.serving.server.packed import request_reader
from trainers.serving.server.signatures import Signature, signatures_of

__all__ = ["NO_SIGNATURE", "LoadedVersion", "ServedModel", "State"]

# What TensorFlow Serving says where Classify or Regress is asked for a signature that is not there.
NO_SIGNATURE = "No signature was found with the name: {}."
_LOG = logging.getLogger(__name__)


class State:
    """States of a version, with the numbers of TensorFlow Serving's `ModelVersionStatus.State`."""

    START, LOADING, AVAILABLE, UNLOADING, END = 10, 20, 30, 40, 50


@dataclasses.dataclass(frozen=True, eq=False)
class LoadedVersion:
    """A version that answers requests.

    Attributes:
        model: name of its model.
        number: of the version.
        signatures: by name.
        graph: its `SavedModel` message, without the graphs.
        loaded: keeps the model alive.
        feature_names: of features by those of their tensors, where the two differ.
    """

    model: str
    number: int
    signatures: dict[str, Signature]
    definitions: Any
    loaded: Any
    feature_names: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @functools.cached_property
    def reader(self) -> Any:
        """Reads requests of its signatures natively."""
        return request_reader(self.signatures)

    def signature(
        self,
        name: str,
        unknown: str = 'Serving signature key "{}" not found.',
        kind: type[RequestError] = FailedPrecondition,
    ) -> Signature:
        """Returns a signature; the empty name is `serving_default`.

        Args:
            name: of it.
            unknown: what TensorFlow Serving says of one that is not there, which differs by what is asked.
            kind: of the error that it says it with.

        Raises:
            RequestError: the version has none of this name.
        """
        name = name or "serving_default"
        if name not in self.signatures:
            raise kind(
                f"{unknown.format(name)} Model {self.model!r} version {self.number} has {', '.join(sorted(self.signatures))}"
            )
        return self.signatures[name]


class ServedModel:
    """The versions of one model that are served.

    Args:
        config: of the model.
        limits: of the server; a version that would not fit into memory is not loaded.
        on_change: called with a version that was loaded or let go.
        before: the model of another directory that had the name: it answers until a version of this one does, and is closed then.
    """

    def __init__(
        self,
        config: ModelConfig,
        limits: Limits,
        on_change: Callable[[LoadedVersion, bool], None] | None = None,
        before: ServedModel | None = None,
    ) -> None:
        self.config = config
        self._before = before
        self._asked: ModelConfig | None = None  # with labels that are set once every version of them answers
        self._limits = limits
        self._on_change = on_change or (lambda version, loaded: None)
        self._reloading = threading.Lock()
        self._live: dict[int, LoadedVersion] = {}  # replaced whole: a request reads it once
        self._states: dict[int, tuple[int, str]] = {}
        self._attempts = Attempts(limits.load_again_s)
        self._folders: dict[int, str] = {}  # names of the versions' directories
        self._copies: tempfile.TemporaryDirectory[str] | None = None  # of versions in an object store
        self._closed = False

    @property
    def states(self) -> dict[int, tuple[int, str]]:
        """State and error text of each version that was ever looked at, by number."""
        before = self._before
        return {**(before.states if before is not None else {}), **self._states}

    @property
    def live(self) -> list[int]:
        """Numbers of the versions that answer, ascending."""
        live, before = self._live, self._before
        return sorted(live) if live or before is None else before.live

    def why_empty(self) -> str | None:
        """Returns why no version of the directory is served; None where one is."""
        if self._live:
            return None
        return next((text for _, (_, text) in sorted(self._states.items(), reverse=True) if text), "none was found")

    @property
    def wanted(self) -> ModelConfig:
        """The configuration that it was given last, or what was kept of the one before."""
        return self._asked or self.config

    def serves(self, version: LoadedVersion) -> bool:
        """Whether this very version answers: not one that was let go, and loaded anew since."""
        before = self._before
        return self._live.get(version.number) is version or (before is not None and before.serves(version))

    def change(self, config: ModelConfig) -> None:
        """Takes another policy and other labels; the labels that it has stay until a look finds every version of the new ones served.

        What could not be loaded is tried again at the next look: a client asks for it.
        """
        self._attempts.forget()
        kept = self.config
        self._asked = config
        self.config = dataclasses.replace(config, labels=kept.labels, canary_share=kept.canary_share)

    def settle(self, keep: bool = False) -> dict[str, int]:
        """Returns the version by each label of the last `change` that is not served: none, or the labels stay as they were before.

        Args:
            keep: they stay until these versions are served, not for good.
        """
        with self._reloading:
            if not self._live:
                return {}  # it is waited for, and its labels with it
            self._set_labels(self._live)
            asked, self._asked = self._asked or self.config, self._asked if keep else None
            return {label: number for label, number in asked.labels.items() if number not in self._live}

    def _set_labels(self, kept: Collection[int]) -> None:
        if self._asked is not None and all(number in kept for number in self._asked.labels.values()):
            self.config, self._asked = self._asked, None

    def find(self, number: int | None = None, label: str | None = None) -> LoadedVersion:
        """Returns the version that a request is for.

        Raises:
            NotFound: no such version.
            InvalidRequest: no such label.
            Unavailable: nothing is loaded yet.
        """
        before = self._before
        if before is not None and not self._live:
            try:
                return before.find(number, label)
            except (InvalidRequest, NotFound, Unavailable):
                if not self._live:  # else it was closed between the two looks
                    raise
        live, config = self._live, self.config  # a client's reload may change either meanwhile
        if label is None and number is None and config.canary_share and config.labels["canary"] in live:
            label = "canary" if random.random() < config.canary_share else None  # noqa: S311 - a share of requests
        if label:
            number = _numbered(config, label)
        if number is not None:
            if number not in live:
                shown = ", ".join(map(str, sorted(live))) or "none"
                raise NotFound(f"Servable not found for request: Specific({config.name}, {number}); served: {shown}")
            return live[number]
        if not live:
            raise Unavailable(f"no version of model {config.name!r} is loaded yet")
        canary = config.labels.get("canary") if config.canary_share else None
        return live[max(each for each in live if each != canary or len(live) == 1)]

    def numbered(self, label: str) -> int:
        """Returns the number of the version that has a label, whatever its state.

        Raises:
            InvalidRequest: no version has it.
        """
        before = self._before
        return before.numbered(label) if before is not None and not self._live else _numbered(self.config, label)

    def reload(self) -> None:
        """Loads the versions that the policy wants and are not served, then lets go those that it does not want."""
        with self._reloading:
            if self._closed:
                return
            there = self._versions()
            wanted = self.config.policy.wanted(there)
            for number in reversed(wanted):
                if number not in self._live:
                    self._load(number)
            # What is served stays until what replaces it answers, and labels point to that.
            kept = [number for number in wanted if number in self._live] or list(self._live)
            self._set_labels(kept)
            for number in [each for each in self._live if each not in kept]:
                self._unload(number)
            if self._live and self._before is not None:
                before, self._before = self._before, None
                before.close()

    def close(self) -> None:
        """Lets every version go, for good."""
        with self._reloading:
            self._closed = True
            for number in list(self._live):
                self._unload(number)
            if self._before is not None:
                self._before.close()

    def follow(self, there: Mapping[int, Path]) -> None:
        """Loads the highest version that can be served, where it is above the one that is, then lets that one go.

        Args:
            there: the directories of the versions to choose from, ascending.
        """
        with self._reloading:
            self._folders |= {number: directory.name for number, directory in there.items()}
            for number in sorted(there, reverse=True):
                if any(number <= live for live in self._live):
                    break
                if self._load(number):
                    for other in [each for each in self._live if each != number]:
                        self._unload(other)
                    break

    def directory_of(self, number: int) -> Path:
        """Returns where a version lies that was found."""
        return Path(self.config.directory, self._folders.get(number, str(number)))

    def _versions(self) -> list[int]:
        directory = self.config.directory
        names = os.listdir(directory) if tree.is_local(directory) else tree.list_tree(directory)
        folders = {name.split("/")[0] for name in names}
        # 007 is version 7, as to TensorFlow Serving; where 7 is there too, that one is. A version has 64 bits.
        numbers = (each for each in folders if each.isascii() and each.isdecimal() and int(each) < 1 << 63)
        numbered = sorted(numbers, key=len, reverse=True)
        self._folders = {int(folder): folder for folder in numbered}
        return sorted(self._folders)

    def _load(self, number: int) -> bool:
        """Returns whether the version is served; `Attempts` say whether one that failed before is tried again."""
        source = f"{self.config.directory.rstrip('/')}/{self._folders.get(number, number)}"
        said = None
        try:
            files = files_of(source)
            if not self._attempts.begin(number, files):
                return False
            said = self._states.get(number)
            self._states[number] = (State.LOADING, "")
            path = self._local(source, files)
            check_room(path, self._limits)
            loaded, definitions, parsed = load_model(path)
            signatures = signatures_of(loaded, definitions, parsed)
            names = _feature_names(path)
            version = LoadedVersion(self.config.name, number, signatures, definitions, loaded, names)
            check_golden(loaded, path, self.config.golden)
            warm_up(version.signatures, path, self.config.warm_up, self.config.name, names)
        except Exception as error:  # whatever is wrong with it, the versions before must go on serving
            self._attempts.failed(number, error)
            self._states[number] = (State.END, redact(f"{type(error).__name__}: {error}"))  # clients ask for it
            if said != self._states[number]:  # said once, not at each try
                _LOG.warning("%s cannot be served: %s", source, error)
            self._remove_copy(number)
            return False
        self._live = {**self._live, number: version}
        self._states[number] = (State.AVAILABLE, "")
        self._on_change(version, True)
        return True

    def _unload(self, number: int) -> None:
        version = self._live[number]
        self._live = {each: other for each, other in self._live.items() if each != number}
        # Requests on it hold it; the last one lets it go.
        self._states[number] = (State.END, "")
        self._attempts.forget(number)
        self._remove_copy(number)
        self._on_change(version, False)

    def _local(self, source: str, files: Any) -> Path:
        """Returns the version's directory on this machine; of an object store a copy named by what was listed."""
        if tree.is_local(source):
            return Path(source)
        if self._copies is None:
            self._copies = tempfile.TemporaryDirectory(prefix="fullpass-serve-", ignore_cleanup_errors=True)
        digest = hashlib.sha256(repr(files).encode()).hexdigest()[:16]
        target = Path(self._copies.name, f"{int(Path(source).name)}-{digest}")
        if not target.exists():
            names = [name for name, *_ in files]
            partial = target.with_suffix(".partial")
            shutil.rmtree(partial, ignore_errors=True)
            tree.download(source, names, partial)
            _check_copy(partial)
            partial.rename(target)
        return target

    def _remove_copy(self, number: int) -> None:
        for copy in Path(self._copies.name).glob(f"{number}-*") if self._copies is not None else ():
            shutil.rmtree(copy, ignore_errors=True)


def _numbered(config: ModelConfig, label: str) -> int:
    if label not in config.labels:
        raise InvalidRequest(
            f"Unrecognized servable version label: {label}; model {config.name!r} has {', '.join(config.labels) or 'none'}"
        )
    return config.labels[label]


def _feature_names(path: Path) -> Mapping[str, str]:
    """Names for what is recorded alone: answers need none, so a version is served without."""
    try:
        return read_feature_names(path)
    except (DataError, OSError) as error:
        _LOG.warning("what is recorded of %s has the names of its tensors: %s", path, error)
        return {}


def _check_copy(copy: Path) -> None:
    """Refuses a copy of a version that is not the model of its card: a store shows the files of a version one by one.

    Raises:
        DataError: it is another.
    """
    stated = (read_card(copy) or {}).get("sha256")
    if stated is not None and (found := model_digest(copy)) != stated:
        raise DataError(f"is not whole, or not the model of its card: its sha256 is {found}, the card says {stated}")
