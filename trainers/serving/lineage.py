"""The chain from data to a version: what each link says, and whether it is still so."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from engine.core.errors import ConfigError, DataError
from trainers.export.card import config_digest, read_card
from trainers.export.digest import CARD_JSON, EVALUATION_JSON, model_digest, tree_digest
from trainers.serving.push import history

__all__ = ["Link", "lineage"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Link:
    """One link of the chain.

    Attributes:
        name: model, card, push, evaluation, configuration, code, transform graph or data.
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
    data: Any = None,
    transform_graph: str | os.PathLike[str] | None = None,
) -> list[Link]:
    """Returns the chain of a version, from what is served back to the data it was trained on.

    Args:
        version: directory of a SavedModel, exported or pushed.
        data: training data (paths, a manifest or a Dataset) to hold against what the card says; None leaves it unchecked.
        transform_graph: transform graph to hold against it; None leaves it unchecked.

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
    links += _origin(card or {}, data, transform_graph)
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


def _origin(card: Mapping[str, Any], data: Any, transform_graph: str | os.PathLike[str] | None) -> Iterator[Link]:
    if card:
        stated = card.get("config_sha256")
        found = config_digest(card["config"])
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
    graph = card.get("transform_graph")
    if graph:
        holds, why = None, "give the graph to check it"
        if transform_graph is not None:
            found = tree_digest(transform_graph)
            holds, why = found == graph["sha256"], "" if found == graph["sha256"] else f"{transform_graph} is {found}"
        yield Link(name="transform graph", says=f"sha256 {graph['sha256']}", holds=holds, why=why)
    stated_data = card.get("data")
    if stated_data:
        records = f", {stated_data['records']:,} records" if "records" in stated_data else ""
        holds, why = None, "give the data to check it"
        if data is not None:
            found = _manifest_hash(data)
            holds = found == stated_data["manifest"]
            why = "" if holds else f"the data given is {found}"
        yield Link(name="data", says=f"manifest {stated_data['manifest']}{records}", holds=holds, why=why)


def _manifest_hash(data: Any) -> str:
    from engine import Dataset

    dataset = data if isinstance(data, Dataset) else Dataset.open(data)
    try:
        return dataset.manifest.hash
    except AttributeError:
        raise DataError("has no manifest to hold against the model card's") from None


def _file_digest(path: Path) -> str | None:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except FileNotFoundError:
        return None
