"""From a trained model to a versioned SavedModel that answers raw tf.Examples.

The transform graph of the training lies inside the model, so serving cannot prepare a feature in another way than
training did. OUT/1, OUT/2, ... is the layout of TensorFlow Serving; a version appears whole or not at all.
"""

from __future__ import annotations

import dataclasses
import os
import tempfile
from pathlib import Path
from typing import Any

from engine.core.errors import ConfigError
from engine.machine.lock import locked
from engine.storage.atomic import atomic_directory
from engine.storage.tree import for_tensorflow, is_local, upload_tree
from engine.storage.uris import local_path, require_local
from trainers.export.options import ExportOptions

__all__ = ["export_saved_model", "latest_version", "version_directories", "version_numbers", "write_saved_model"]


def export_saved_model(
    model: Any,
    out: str | os.PathLike[str],
    options: ExportOptions | None = None,
    *,
    version: int | None = None,
    **given: Any,
) -> Path:
    """Returns the path of the new version OUT/VERSION, a SavedModel with four signatures.

    `serving_default` takes `examples`, string [n], serialized tf.Examples without the label; `raw_features` a batch of raw
    features as plain tensors; `transformed_features` a batch of transformed ones; each answers the model's outputs by
    name ("outputs" where the model has one without a name). `transform_features` takes `examples` and answers the dense
    transformed features with the label. `assets.extra/` holds the model card.

    Args:
        model: a Keras 3 or tf_keras model, or a tf.Module with `__call__(features)`. Of a multi-worker training use
            `trainers.export.from_checkpoint.export_checkpoint`, which needs no other worker.
        out: directory of all versions of the model, on a local or mounted file system.
        options: transform graph, features, label and what the card says; None takes the defaults.
        version: 1 or more; None takes the next.
        **given: fields of `ExportOptions`, each in place of that of `options`.

    Raises:
        ConfigError: `out` is a URI; something that cannot be exported; a version that is there already; a label, feature or raw feature
            that the transform graph does not know.
        TypeError: a keyword that is no field of `ExportOptions`.
    """
    root = require_local("out", out)
    export = _Export(model, dataclasses.replace(options or ExportOptions(), **given))
    with locked(root):  # two exports at the same time get two numbers
        number = _checked_version(root, version)
        export.write(root / str(number))
    return root / str(number)


def write_saved_model(
    model: Any, directory: str | os.PathLike[str], options: ExportOptions | None = None, **given: Any
) -> None:
    """Writes what `export_saved_model` writes to exactly this directory, local or a URI (s3://, gs://, hdfs://).

    It is for programs that name the directory themselves, as TFX does; one that is there is replaced.

    Args:
        model: see `export_saved_model`.
        directory: of the SavedModel.
        options: see `export_saved_model`.
        **given: fields of `ExportOptions`, each in place of that of `options`.
    """
    export = _Export(model, dataclasses.replace(options or ExportOptions(), **given))
    target = os.fspath(directory)
    if is_local(target):
        export.write(local_path(target))
        return
    with tempfile.TemporaryDirectory(prefix="fullpass-model-") as local:
        export.write(Path(local) / "model")
        # saved_model.pb, by which loaders know a model, comes last.
        upload_tree(Path(local) / "model", target.rstrip("/"), last="saved_model.pb")


class _Export:
    """What is saved, with its signatures and its card: traced once, before any directory is made."""

    def __init__(self, model: Any, options: ExportOptions) -> None:
        from trainers.export.card import make_card
        from trainers.export.signatures import ServedModel

        self._options = options
        if options.transform_graph is not None:  # one that TensorFlow can open
            options = dataclasses.replace(options, transform_graph=for_tensorflow(options.transform_graph))
        self._served = ServedModel(model, options)
        self._signatures = self._served.signatures()
        self._card = make_card(
            options,
            name=getattr(model, "name", None) or type(model).__name__,
            model=_describe_model(model, self._served),
            signatures={name: _describe_signature(function) for name, function in self._signatures.items()},
            raw_features={name: _describe_feature(f) for name, f in self._served.raw_feature_spec.items()},
        )

    def write(self, target: Path) -> None:
        """Writes the SavedModel, whole or not at all."""
        import tensorflow as tf

        from trainers.export.card import write_card
        from trainers.export.digest import model_digest
        from trainers.export.feature_names import write_feature_names
        from trainers.export.samples import write_samples

        samples, graph = self._options.samples, self._options.transform_graph
        with atomic_directory(target) as directory:
            tf.saved_model.save(self._served, str(directory), signatures=dict(self._signatures))
            write_feature_names(directory, self._served.tensor_names)
            write_samples(directory, self._card["name"], samples, graph, self._served.full_raw_feature_spec)
            write_card({**self._card, "sha256": model_digest(directory)}, directory)


def version_directories(out: str | os.PathLike[str]) -> dict[int, Path]:
    """Returns the SavedModels in a directory of versions by their numbers, ascending; none where it does not exist.

    007 is version 7, as to TensorFlow Serving; where 7 is there too, that one is. A version has 64 bits.

    Raises:
        ConfigError: the directory is a URI.
    """
    out = require_local("directory of versions", out)
    try:
        names = os.listdir(out)
    except FileNotFoundError:
        return {}
    numbers = [name for name in names if name.isascii() and name.isdecimal() and int(name) < 1 << 63]
    found = {int(name): Path(out, name) for name in sorted(numbers, key=len, reverse=True)}
    return {number: found[number] for number in sorted(found) if (found[number] / "saved_model.pb").is_file()}


def version_numbers(out: str | os.PathLike[str]) -> list[int]:
    """Returns the versions in a directory of versions, ascending; none where it does not exist."""
    return [*version_directories(out)]


def latest_version(path: str | os.PathLike[str]) -> Path:
    """Returns the SavedModel at `path`: itself, or the newest version below it.

    Raises:
        ConfigError: neither is there, or the path is a URI.
    """
    path = require_local("model", path)
    if Path(path, "saved_model.pb").is_file():
        return Path(path)
    versions = version_directories(path)
    if not versions:
        raise ConfigError(
            f"{os.fspath(path)}: no SavedModel, and no numbered version of one; `fullpass export` makes one"
        )
    return versions[max(versions)]


def _checked_version(root: Path, version: int | None) -> int:
    there = version_numbers(root)
    if version is None:
        return there[-1] + 1 if there else 1
    if isinstance(version, bool) or not isinstance(version, int) or version < 1:
        raise ConfigError(f"version={version!r}: a whole number, at least 1, or None for the next")
    taken = version_directories(root).get(version, root / str(version))
    if taken.exists():
        raise ConfigError(f"version={version}: {taken} is there already; versions never change, give another number")
    return version


def _describe_model(model: Any, served: Any) -> dict[str, Any]:
    variables = served.forward.model_variables
    return {
        "class": f"{type(model).__module__}.{type(model).__name__}",
        "parameters": int(sum(v.shape.num_elements() or 0 for v in variables)),
        "features": sorted(served.model_feature_spec),
    }


def _describe_signature(function: Any) -> dict[str, Any]:
    import tensorflow as tf

    def described(specs: Any) -> dict[str, Any]:
        return {
            s[0]: {"dtype": s[1].dtype.name, "shape": s[1].shape.as_list() if s[1].shape.rank is not None else None}
            for s in specs
        }

    inputs = [(spec.name, spec) for spec in tf.nest.flatten(function.structured_input_signature)]
    return {"inputs": described(inputs), "outputs": described(sorted(function.structured_outputs.items()))}


def _describe_feature(feature: Any) -> dict[str, Any]:
    described: dict[str, Any] = {"kind": type(feature).__name__, "dtype": feature.dtype.name}
    if hasattr(feature, "shape"):
        described["shape"] = list(feature.shape)
    if getattr(feature, "default_value", None) is not None:
        described["default"] = str(feature.default_value)
    return described
