"""Model cards: what others called their columns formats nothing, and what opens a store stays out of what goes with a model."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest

from trainers.export.card import CARD_JSON, CARD_MARKDOWN, config_digest, make_card, read_card, write_card
from trainers.export.options import ExportOptions

SECRET = "SuperSecret123"
HOSTILE = "a|b`<img src=x onerror=alert(1)>\n\n# Approved by legal\n\u202e[x](javascript:alert(1)) @everyone"


def written(folder, name="m", **options):
    """Returns a card as Markdown, as text of its JSON, and read."""
    tensor = {"dtype": "string", "shape": [1]}
    card = make_card(
        ExportOptions(**{"label": [HOSTILE], **options}),
        name=name,
        model={"class": HOSTILE, "parameters": 1},
        signatures={HOSTILE: {"inputs": {HOSTILE: tensor}, "outputs": {"y": tensor}}},
        raw_features={HOSTILE: {"kind": "FixedLenFeature", "dtype": "string", "shape": [], "default": HOSTILE}},
    )
    write_card(card, folder)
    return (folder / CARD_MARKDOWN).read_text(), (folder / CARD_JSON).read_text(), read_card(folder)


def test_names_of_others_format_nothing_in_a_card(tmp_path):
    markdown = pytest.importorskip("markdown_it", reason="markdown-it-py is not installed: pip install markdown-it-py")
    text, _, card = written(tmp_path, HOSTILE, config={HOSTILE: HOSTILE}, metrics={HOSTILE: 0.5})
    assert card["label"] == [HOSTILE], "programs get them as they are"
    tokens = [
        t for t in markdown.MarkdownIt("commonmark").enable("table").parse(text) for t in (t, *(t.children or ()))
    ]
    assert not {"html_block", "html_inline", "link_open", "code_inline"} & {token.type for token in tokens}
    headings = [after.content for token, after in itertools.pairwise(tokens) if token.type == "heading_open"]
    assert headings[0].startswith("Model card: a") and headings[1:] == [
        *(
            "Model",
            "Metrics",
            "What to ask it with",
            "Training data",
            "Transform graph",
            "Configuration",
            "Code",
            "Software",
        )
    ]
    shown = [token.content for token in tokens if token.type == "text"]
    assert any(HOSTILE.split("\n")[0] in line for line in shown), "people see them whole"
    assert "\u202e" not in text and "@everyone" not in text


def test_credentials_in_settings_stay_out_of_a_card(tmp_path):
    uri = f"https://me:{SECRET}@mlflow.example/x?token={SECRET}"
    config = {"trackers": {"mlflow": {"uri": uri}}, "hyperparameters": {"tables": [uri], "rate": 0.1}}
    text, stored, card = written(tmp_path, config=config, checkpoint={"path": uri, "step": 3})
    assert SECRET not in text + stored
    assert card["config"]["hyperparameters"] == {"tables": ["https://***@mlflow.example/x?token=***"], "rate": 0.1}
    assert card["config_sha256"] == config_digest(card["config"]), "as lineage checks it"
    assert json.loads(stored)["checkpoint"]["step"] == 3


def test_a_card_is_json_to_strict_readers_whatever_numbers_it_is_given(tmp_path):
    def refuse(name):
        raise ValueError(f"{name} is no JSON")

    given = {
        "auc": float("nan"), "loss": np.float32("inf"), "rows": np.int64(7), "good": np.bool_(True),
        "one": np.array([0.5]), "long": np.longdouble(0.5), "names": {"b", "a"}, "none": None,
    }  # fmt: skip
    expected = {
        "auc": None, "loss": None, "rows": 7, "good": True, "one": 0.5, "long": 0.5, "names": ["a", "b"], "none": None
    }  # fmt: skip
    _, stored, card = written(tmp_path, metrics=given, config=given)
    assert json.loads(stored, parse_constant=refuse) == card
    assert card["metrics"] == card["config"] == expected
    assert type(card["metrics"]["rows"]) is int and card["metrics"]["good"] is True
