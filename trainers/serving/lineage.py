"""The chain from data to a version: what each link says, and whether it is still so."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.core.errors import ConfigError, DataError
from trainers.export.card import config_digest, read_card
from trainers.export.digest import CARD_JSON, EVALUATION_JSON, model_digest, tree_digest
from trainers.serving.push import history

if TYPE_CHECKING:
    from engine.dataset.dataset import DataPaths, Dataset

__all__ = ["Link", "lineage"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Link:
    """One link of the chain.

    Attributes:
        name: model, push, evaluation, configuration, code, checkpoint, transform graph, data or raw data.
        says: what it states.
        holds: whether that was found to be so; None where there is nothing to hold it against.
        why: what is wrong, or why it could not be checked.
    """

    name: str
    says: str
    holds: bool | None
    why: str = ""

    def __str__(self) -> str:
        mark = {True: "ok", False: "BROKEN", None: "not checked"}[self.holds]
        return f"{self.name:<16} {mark:<12} {self.says}{f' ({self.why})' if self.why else ''}"


def lineage(
    version: str | os.PathLike[str],
    *,
    data: Dataset | DataPaths | None = None,
    transform_graph: str | os.PathLike[str] | None = None,
    raw_data: Dataset | DataPaths | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    deep: bool = False,
) -> list[Link]:
    """Returns the chain of a version, from what is served back to the data it was trained on.

    Args:
        version: directory of a SavedModel, exported or pushed.
        data: training data (paths, a manifest or a Dataset) to hold against what the card says; None leaves it unchecked.
        transform_graph: transform graph to hold against it; None takes the one of the export where it still is.
        raw_data: data that were analyzed, to hold against what the graph says; None leaves them unchecked.
        checkpoint: checkpoint to hold against the card; None takes the one of the export where it still is.
        deep: also read every byte of the data that are given.

    Raises:
        ConfigError: no SavedModel there.
        DataError: a card, an evaluation or a history that is damaged.
    """
    path = Path(version)
    if not (path / "saved_model.pb").is_file():
        raise ConfigError(f"{path}: no SavedModel; give the directory of one version, e.g. serving/3")
    digest, card = model_digest(path), read_card(path)
    stated = (card or {}).get("sha256")
    links = [Link(name="model", says=f"sha256 {digest}", holds=None if stated is None else stated == digest)]
    if stated is None:
        links[0] = dataclasses.replace(links[0], why="its card has no digest" if card else "it has no model card")
    elif stated != digest:
        links[0] = dataclasses.replace(links[0], why=f"was exported as {stated}")
    links += _push(path, digest)
    links += _evaluation(path, digest)
    links += _origin(card or {}, data, transform_graph, checkpoint, deep)
    links += _raw_data(card or {}, raw_data, transform_graph, deep)
    return links


def _push(path: Path, digest: str) -> Iterator[Link]:
    entries = history(path.parent) if path.name.isdecimal() else []
    for entry in (e for e in entries if e["version"] == int(path.name)):
        says = f"{entry['action']} of {entry['source']} at {entry['time']}"
        says += "" if entry.get("blessed", True) else ", not blessed"
        if "sha256" not in entry:
            yield Link(name="push", says=says, holds=None, why="from before pushes had digests")
            continue
        wrong = [] if entry["sha256"] == digest else [f"pushed was {entry['sha256']}"]
        if entry.get("card_sha256") != _file_digest(path / CARD_JSON):
            wrong.append("its model card is another")
        if entry.get("evaluation_sha256") != _file_digest(path / EVALUATION_JSON):
            wrong.append("its evaluation is another")
        yield Link(name="push", says=says, holds=not wrong, why="; ".join(wrong))


def _evaluation(path: Path, digest: str) -> Iterator[Link]:
    from trainers.evaluation.result import EvaluationResult

    if not (path / EVALUATION_JSON).exists():
        return
    result = EvaluationResult.load(path / EVALUATION_JSON)
    state = "blessed" if result.blessed else "not blessed"
    says = f"{result.rows:,} rows, {state}" + (f", data {result.data}" if result.data else "")
    same = result.model_sha256 == digest
    why = "" if same else f"of {result.model_sha256 or 'a model without digest'}"
    yield Link(name="evaluation", says=says, holds=same, why=why)


def _origin(
    card: Mapping[str, Any],
    data: Dataset | DataPaths | None,
    transform_graph: str | os.PathLike[str] | None,
    checkpoint: str | os.PathLike[str] | None,
    deep: bool,
) -> Iterator[Link]:
    if card:
        stated = card.get("config_sha256")
        found = config_digest(card.get("config", {}))
        yield Link(
            name="configuration",
            says=f"sha256 {stated or found}",
            holds=None if stated is None else stated == found,
            why="" if stated in (None, found) else "the card's configuration was changed",
        )
        code = card.get("code", {})
        text = f"Fullpass {code.get('fullpass')}, commit {code.get('commit', 'unknown')}"
        yield Link(
            name="code", says=text, holds=None, why="uncommitted changes" * bool(code.get("uncommitted_changes"))
        )
    if card.get("checkpoint"):
        yield _checkpoint(card["checkpoint"], card.get("data") or {}, checkpoint)
    graph = card.get("transform_graph")
    if graph:
        holds, why = None, "it is not where it was; give the graph to check it"
        there = transform_graph or _still_there(graph)
        if there is not None:
            found = tree_digest(there)
            holds, why = found == graph["sha256"], "" if found == graph["sha256"] else f"{there} is {found}"
        yield Link(name="transform graph", says=f"sha256 {graph['sha256']}", holds=holds, why=why)
    stated_data = card.get("data")
    if stated_data:
        records = f", {stated_data['records']:,} records" if "records" in stated_data else ""
        holds, why = None, "give the data to check it"
        if data is not None:
            holds, why = _held(data, stated_data["manifest"], deep)
        yield Link(name="data", says=f"manifest {stated_data['manifest']}{records}", holds=holds, why=why)


def _checkpoint(stated: Mapping[str, Any], data: Mapping[str, Any], checkpoint: str | os.PathLike[str] | None) -> Link:
    from trainers.checkpoints.checkpoint import CheckpointError, load_checkpoint

    digest = stated.get("sha256")
    step = stated.get("step")
    says = f"step {'not stated' if step is None else step}, sha256 {digest}"
    path = os.fspath(checkpoint) if checkpoint is not None else stated.get("path")
    if path is None:
        return Link(name="checkpoint", says=says, holds=None, why="its path is not stated; give it to check it")
    if checkpoint is None and not os.path.isdir(path):
        return Link(name="checkpoint", says=says, holds=None, why=f"{path} is not there any more")
    try:
        saved = load_checkpoint(path)
        saved.verify()
    except CheckpointError as error:
        return Link(name="checkpoint", says=says, holds=False, why=str(error))
    wrong = [] if saved.identity["sha256"] == digest else [f"{path} is {saved.identity['sha256']}"]
    trained_on = saved.state.get("feed", {}).get("manifest")
    if data.get("manifest") not in (None, trained_on):
        wrong.append(f"it was trained on {trained_on}")
    return Link(name="checkpoint", says=says, holds=not wrong, why="; ".join(wrong))


def _raw_data(
    card: Mapping[str, Any],
    raw_data: Dataset | DataPaths | None,
    transform_graph: str | os.PathLike[str] | None,
    deep: bool,
) -> Iterator[Link]:
    """What the transform graph was made of, as far as the graph is there to say it."""
    from transforms.output.provenance import read_provenance

    there = transform_graph or _still_there(card.get("transform_graph") or {})
    if there is None:
        return
    try:
        facts = read_provenance(there)
    except DataError as error:
        yield Link(name="raw data", says="analyzed data", holds=False, why=str(error))
        return
    if facts is None:
        return
    stated = facts["data"]
    holds, why = (
        (None, "give the raw data to check it") if raw_data is None else _held(raw_data, stated["manifest"], deep)
    )
    says = f"manifest {stated['manifest']}, {stated['records']:,} records, analyzed by Fullpass {facts['fullpass']}"
    yield Link(name="raw data", says=says, holds=holds, why=why)


def _still_there(graph: Mapping[str, Any]) -> str | None:
    path = graph.get("path")
    # A card may come from anybody: of another directory than a graph, as the whole file system, not a file is read.
    return path if path and os.path.isfile(os.path.join(path, "transform_fn", "saved_model.pb")) else None


def _held(data: Dataset | DataPaths, manifest: str, deep: bool) -> tuple[bool | None, str]:
    """Returns whether data are what a manifest's hash says (None: there is nothing to check their bytes against), and why not."""
    from engine.dataset.dataset import as_dataset

    try:
        dataset = as_dataset(data)
        found = dataset.manifest.hash
        if found != manifest:
            return False, f"the data given is {found}"
        report = dataset.verify() if deep else None
    except AttributeError:
        raise DataError("has no manifest to hold against what was stated") from None
    except DataError as error:
        return False, str(error)
    if report is None:
        return True, ""
    if report.damages:
        return False, "; ".join(str(damage) for damage in report.damages[:3])
    return (None, report.unchecked[0]) if report.unchecked else (True, "")


def _file_digest(path: Path) -> str | None:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except FileNotFoundError:
        return None
