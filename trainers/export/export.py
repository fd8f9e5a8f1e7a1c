"""From a trained model to a versioned SavedModel that answers raw tf.Examples.

The transform graph of the training lies inside the model, so serving cannot prepare a feature in another way than
training did. OUT/1, OUT/2, ... is the layout of TensorFlow Serving; a version appears whole or not at all.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from engine.core.errors import ConfigError
from engine.machine.lock import locked
from engine.schema.schema_proto import as_feature_spec
from engine.storage.atomic import atomic_directory
from engine.storage.tree import for_tensorflow, is_local, local_path, require_local, upload_tree

__all__ = ["export_saved_model", "latest_version", "version_numbers", "write_saved_model"]


def export_saved_model(
    model: Any,
    out: str | os.PathLike[str],
    *,
    transform_graph: str | os.PathLike[str] | None = None,
    raw_feature_spec: Mapping[str, Any] | None = None,
    label: str | Sequence[str] = (),
    features: Sequence[str] | None = None,
    pad: Mapping[str, Any] | None = None,
    data_manifest: Any = None,
    config: Mapping[str, Any] | None = None,
    metrics: Mapping[str, Any] | None = None,
    samples: Sequence[bytes] = (),
    checkpoint: Mapping[str, Any] | None = None,
    version: int | None = None,
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
        transform_graph: directory of TFT's output that the training data was transformed with, or None where the model
            was trained on raw features.
        raw_feature_spec: `tf.io` features of the raw examples, e.g. `dataset.feature_spec()`, or a Schema of TensorFlow Metadata
            or the path of its `schema.pbtxt`. Without it the transform
            graph says which features it takes (without default values).
        label: names of the (transformed) labels, which no request needs.
        features: names of the features that the model takes; None for all except the labels. A request needs only those
            that an answer depends on.
        pad: `TrainerConfig.pad` of the training.
        data_manifest: `dataset.manifest` of the training data, or a text that identifies it.
        config: settings of the training, for the card.
        metrics: metrics of the model, for the card.
        samples: a few serialized raw tf.Examples, with what the label is made of: warm-up requests and the golden set are
            written of them.
        checkpoint: path, step and digest of the checkpoint that the weights are of, for the card.
        version: 1 or more; None takes the next.

    Raises:
        ConfigError: `out` is a URI; something that cannot be exported; a version that is there already; a label, feature or raw feature
            that the transform graph does not know.
    """
    root = require_local("out", out)
    served, signatures, card = _prepare(
        model,
        transform_graph,
        as_feature_spec(raw_feature_spec),
        label,
        features,
        pad,
        data_manifest,
        config,
        metrics,
        checkpoint,
    )
    with locked(root):  # two exports at the same time get two numbers
        number = _checked_version(root, version)
        _write(served, signatures, card, root / str(number), samples, transform_graph)
    return root / str(number)


def write_saved_model(
    model: Any,
    directory: str | os.PathLike[str],
    *,
    transform_graph: str | os.PathLike[str] | None = None,
    raw_feature_spec: Mapping[str, Any] | None = None,
    label: str | Sequence[str] = (),
    features: Sequence[str] | None = None,
    pad: Mapping[str, Any] | None = None,
    data_manifest: Any = None,
    config: Mapping[str, Any] | None = None,
    metrics: Mapping[str, Any] | None = None,
    samples: Sequence[bytes] = (),
) -> None:
    """Writes what `export_saved_model` writes to exactly this directory, local or a URI (s3://, gs://, hdfs://).

    It is for programs that name the directory themselves, as TFX does; one that is there is replaced.
    """
    served, signatures, card = _prepare(
        model, transform_graph, as_feature_spec(raw_feature_spec), label, features, pad, data_manifest, config, metrics
    )
    target = os.fspath(directory)
    if is_local(target):
        _write(served, signatures, card, local_path(target), samples, transform_graph)
        return
    with tempfile.TemporaryDirectory(prefix="fullpass-model-") as local:
        _write(served, signatures, card, Path(local) / "model", samples, transform_graph)
        # saved_model.pb, by which loaders know a model, comes last.
        upload_tree(Path(local) / "model", target.rstrip("/"), last="saved_model.pb")


def _prepare(
    model: Any,
    transform_graph: str | os.PathLike[str] | None,
    raw_feature_spec: Mapping[str, Any] | None,
    label: str | Sequence[str],
    features: Sequence[str] | None,
    pad: Mapping[str, Any] | None,
    data_manifest: Any,
    config: Mapping[str, Any] | None,
    metrics: Mapping[str, Any] | None,
    checkpoint: Mapping[str, Any] | None = None,
) -> tuple[Any, dict[str, Any], dict[str, Any]]:
    """Returns what is saved, its signatures and its card."""
    from trainers.export.card import make_card
    from trainers.export.signatures import ServedModel

    labels = (label,) if isinstance(label, str) else tuple(label)
    transform_graph = None if transform_graph is None else for_tensorflow(transform_graph)
    served = ServedModel(
        model,
        transform_graph=transform_graph,
        raw_feature_spec=raw_feature_spec,
        label=labels,
        features=features,
        pad=pad,
    )
    signatures = served.signatures()
    card = make_card(
        name=getattr(model, "name", None) or type(model).__name__,
        model=_describe_model(model, served),
        signatures={name: _describe_signature(function) for name, function in signatures.items()},
        raw_features={name: _describe_feature(f) for name, f in served.raw_feature_spec.items()},
        label=labels,
        transform_graph=transform_graph,
        data_manifest=data_manifest,
        config=config,
        metrics=metrics,
        checkpoint=checkpoint,
    )
    return served, signatures, card


def _write(
    served: Any,
    signatures: Mapping[str, Any],
    card: Mapping[str, Any],
    target: Path,
    samples: Sequence[bytes],
    transform_graph: str | os.PathLike[str] | None,
) -> None:
    import tensorflow as tf

    from trainers.export.card import write_card
    from trainers.export.digest import model_digest
    from trainers.export.feature_names import write_feature_names
    from trainers.export.samples import write_samples

    with atomic_directory(target) as directory:
        tf.saved_model.save(served, str(directory), signatures=dict(signatures))
        write_feature_names(directory, served.tensor_names)
        write_samples(directory, card["name"], samples, transform_graph, served.full_raw_feature_spec)
        write_card({**card, "sha256": model_digest(directory)}, directory)


def version_numbers(out: str | os.PathLike[str]) -> list[int]:
    """Returns the versions in a directory of versions, ascending; none where it does not exist.

    Raises:
        ConfigError: the directory is a URI.
    """
    out = require_local("directory of versions", out)
    try:
        names = os.listdir(out)
    except FileNotFoundError:
        return []
    return sorted(int(name) for name in names if name.isdecimal() and Path(out, name, "saved_model.pb").is_file())


def latest_version(path: str | os.PathLike[str]) -> Path:
    """Returns the SavedModel at `path`: itself, or the newest version below it.

    Raises:
        ConfigError: neither is there, or the path is a URI.
    """
    path = require_local("model", path)
    if Path(path, "saved_model.pb").is_file():
        return Path(path)
    numbers = version_numbers(path)
    if not numbers:
        raise ConfigError(
            f"{os.fspath(path)}: no SavedModel, and no numbered version of one; `fullpass export` makes one"
        )
    return Path(path) / str(numbers[-1])


def _checked_version(root: Path, version: int | None) -> int:
    there = version_numbers(root)
    if version is None:
        return there[-1] + 1 if there else 1
    if isinstance(version, bool) or not isinstance(version, int) or version < 1:
        raise ConfigError(f"version={version!r}: a whole number, at least 1, or None for the next")
    if (root / str(version)).exists():
        raise ConfigError(
            f"version={version}: {root / str(version)} is there already; versions never change, give another number"
        )
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
