"""A model that is served while its versions change under it: a small loader for programs that answer requests themselves.

A request runs from start to end on one version. A new version is loaded and asked once beside the old one, then takes
its place in one step; the old one is let go when the last request on it has its answer.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from engine.core.errors import ConfigError
from trainers.export.export import version_directories
from trainers.serving.requests import well_formed
from trainers.serving.server.config import Limits, ModelConfig
from trainers.serving.server.versions import ServedModel

__all__ = ["LiveModel", "Version"]

_LOG = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Version:
    """One loaded version.

    Attributes:
        number: its directory's name.
        path: its directory.
        loaded: what `tf.saved_model.load` returned.
    """

    number: int
    path: Path
    loaded: Any

    def call(self, signature: str = "serving_default", **tensors: Any) -> dict[str, Any]:
        """Returns the outputs of a signature by name.

        Raises:
            ConfigError: the version has no such signature.
            DataError: an element of `examples` is not a tf.Example.
        """
        if signature not in self.loaded.signatures:
            raise ConfigError(
                f"{self.path} has no signature {signature!r}, only {', '.join(sorted(self.loaded.signatures))}"
            )
        if "examples" in tensors:
            tensors["examples"] = _well_formed(tensors["examples"])
        outputs: dict[str, Any] = self.loaded.signatures[signature](**tensors)
        return outputs


class LiveModel:
    """Serves the highest version of a directory, from any number of threads, and follows pushes and rollbacks.

    Args:
        directory: of numbered SavedModels, as `trainers.serving.push` fills it.
        poll_s: seconds between two looks at the directory; None looks only when `reload` is called.
        golden: how the golden set of a version is compared when it is loaded, see `trainers.serving.golden.check_golden`.

    Raises:
        ConfigError: the directory has no version.
    """

    def __init__(self, directory: str | os.PathLike[str], poll_s: float | None = 1.0, *, golden: str = "exact") -> None:
        if poll_s is not None and poll_s <= 0:
            raise ConfigError(f"poll_s={poll_s}: more than 0 seconds, or None to reload by hand")
        self._root = Path(directory)
        # One version at a time answers: the share of the free memory that it may take is all of it.
        self._served = ServedModel(
            ModelConfig(name="live-model", directory=str(directory), golden=golden), Limits(memory_share=1.0)
        )
        self._stop = threading.Event()
        self._watcher: threading.Thread | None = None
        if self.reload() is None:
            why = "; ".join(f"version {n}: {text}" for n, text in self.failed.items()) or "no version is there"
            raise ConfigError(f"{self._root}: {why}")
        if poll_s is not None:
            self._watcher = threading.Thread(target=self._watch, args=(poll_s,), daemon=True, name="live-model")
            self._watcher.start()

    @property
    def version(self) -> int:
        """Number of the version that the next request will run on."""
        return self._served.find().number

    @property
    def failed(self) -> dict[int, str]:
        """Versions that could not be loaded, and why; the one before goes on serving."""
        return {number: text for number, (_, text) in self._served.states.items() if text}

    @contextlib.contextmanager
    def hold(self) -> Iterator[Version]:
        """Yields the current version; all calls on it are answered by the same model, whatever is pushed meanwhile."""
        found = self._served.find()
        yield Version(found.number, self._served.directory_of(found.number), found.loaded)

    def predict(self, examples: Any, output: str | None = None) -> Any:
        """Returns the answer to serialized tf.Examples.

        Args:
            examples: list or string tensor [n] of serialized examples.
            output: name of the output; None where there is one.

        Returns:
            numpy array, one row an example.

        Raises:
            DataError: an element is not a tf.Example; `record` says which.
        """
        with self.hold() as version:
            answers = version.call(examples=examples)
        if output is None:
            if len(answers) != 1:
                raise ConfigError(f"the model has the outputs {', '.join(sorted(answers))}: say which")
            return next(iter(answers.values())).numpy()
        return answers[output].numpy()

    def reload(self) -> int | None:
        """Looks for a higher version, loads it and returns the number that is served now."""
        self._served.follow(version_directories(self._root))
        return max(self._served.live, default=None)

    def close(self) -> None:
        """Stops following the directory; requests are still answered."""
        if self._watcher is not None:
            self._stop.set()
            self._watcher.join()
            self._watcher = None

    def __enter__(self) -> LiveModel:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _watch(self, poll_s: float) -> None:
        while not self._stop.wait(poll_s):
            try:
                self.reload()
            except Exception as error:  # a thread that ended here would leave the model as it is for ever
                _LOG.warning("%s cannot be read, version %s stays: %s", self._root, self.version, error)


def _well_formed(examples: Any) -> Any:
    """Returns serialized examples as a tensor that TensorFlow may parse.

    Raises:
        DataError: an element is not a tf.Example.
    """
    import numpy as np
    import tensorflow as tf

    tensor = tf.convert_to_tensor(examples, tf.string)
    return tf.reshape(tf.constant(well_formed(np.ravel(tensor.numpy())), tf.string), tensor.shape)
