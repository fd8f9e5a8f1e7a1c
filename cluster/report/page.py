"""The page of one or several runs as a model: verdicts, figures to see first, sections."""

from __future__ import annotations

import math
from collections.abc import Sequence

from cluster.report.model import Page, Verdict, shown
from cluster.report.runs import Run
from cluster.report.sections.comparison import runs_compared
from cluster.report.sections.curves import curves_section
from cluster.report.sections.evaluation import fairness_section, metrics_section
from cluster.report.sections.statistics import data_section
from cluster.report.sections.training import training_section
from cluster.report.sections.transform_graph import transform_section
from cluster.report.sections.work import lineage_section, seconds, settings_section, time_section
from engine.machine.clock import shown as shown_time
from engine.version import __version__

__all__ = ["page_digest", "page_of", "verdict_of"]


def page_of(runs: Sequence[Run]) -> Page:
    """Returns the page of runs, in the order given."""
    last = max((f.record.finished_at for run in runs for f in run.steps.values()), default="")
    sections = [
        *runs_compared(runs),
        metrics_section(runs),
        curves_section(runs),
        fairness_section(runs),
        training_section(runs),
        data_section(runs),
        transform_section(runs),
        time_section(runs),
        settings_section(runs),
        lineage_section(runs),
    ]
    return Page(
        title=" and ".join(run.name for run in runs) if len(runs) < 4 else f"{len(runs)} runs",
        subtitle=f"Run report, results of {shown_time(last)}" if last else "Run report, no step is finished yet",
        verdicts=[verdict_of(run) for run in runs],
        tiles=_tiles(runs),
        sections=sections,
        footer=f"Made by Fullpass {__version__} from {', '.join(str(run.path) for run in runs)}.",
        digest=page_digest(runs),
    )


def page_digest(runs: Sequence[Run]) -> str:
    """Returns a text that differs for pages of other results or of another version."""
    import hashlib

    return hashlib.sha256(" ".join([__version__, *(f"{run.path} {run.digest}" for run in runs)]).encode()).hexdigest()


def verdict_of(run: Run) -> Verdict:
    """Returns whether a run's model may be served, and why; of a run that is not finished how far it came."""
    verdict = _verdict_of_results(run)
    if run.unfinished is None:
        return verdict
    state = "bad" if run.unfinished.holder is None else "open"
    before = (f"of the results before: {verdict.text}", *verdict.reasons) if run.evaluation is not None else ()
    return Verdict(run=run.name, state=state, text=run.unfinished.text, reasons=before)


def _verdict_of_results(run: Run) -> Verdict:
    result = run.evaluation
    if result is None:
        text = "Not evaluated: nothing says whether this model may be served"
        return Verdict(run=run.name, state="open", text=text)
    earlier = (
        ("the evaluation is of earlier results: a step before it ran again since",) if "evaluate" in run.earlier else ()
    )
    reasons = (*earlier, *result.failures, *(f"not judged: {line}" for line in result.not_judged))
    if not result.judged:
        text = "Not judged: the evaluation had no thresholds to hold the model to"
        return Verdict(run=run.name, state="open", text=text, reasons=reasons)
    if not result.blessed:
        return Verdict(run=run.name, state="bad", text="Not blessed: the model missed its thresholds", reasons=reasons)
    state = "open" if earlier else "good"
    return Verdict(run=run.name, state=state, text="Blessed: the model met all thresholds", reasons=reasons)


def _tiles(runs: Sequence[Run]) -> list[tuple[str, str, str]]:
    tiles = []
    for run in runs:
        prefix = f"{run.name}: " if len(runs) > 1 else ""
        result = run.evaluation
        if result is not None:
            names = [n for n, v in result.overall.items() if n != "example_count" and math.isfinite(v)]
            for name in names[: 2 if len(runs) == 1 else 1]:
                half = result.half_widths.get(name, math.nan)
                note = f"±{shown(half)} (95 %)" if math.isfinite(half) else "all rows"
                if result.baseline is not None and name in result.baseline:
                    note += f", baseline {shown(result.baseline[name])}"
                tiles.append((f"{prefix}{name}", shown(result.overall[name]), note))
        train = run.steps.get("train")
        if train is not None and run.training == run.output("train", "checkpoints"):
            epochs = run.train_state.get("epoch")
            note = f"{shown(epochs)} epochs" if isinstance(epochs, int | float) else "rows seen, epochs together"
            tiles.append((f"{prefix}rows trained on", shown(train.record.rows_out), note))
        if result is not None and len(runs) == 1:
            tiles.append(("rows evaluated", shown(result.rows), f"{len(result.slices):,} segments"))
        parameters = run.card.get("model", {}).get("parameters")
        if isinstance(parameters, int) and len(runs) == 1:
            tiles.append(("parameters", shown(parameters), str(run.card["model"].get("class", "")).rpartition(".")[2]))
        tiles.append((f"{prefix}time of all steps", seconds([run]), f"{len(run.steps)} steps"))
    return tiles
