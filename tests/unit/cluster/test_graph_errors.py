"""What TensorFlow says of a failing operation becomes one line with the place in the user's file."""

import pytest

from cluster.user_code.graph_errors import graph_errors, read_lines
from engine.core.errors import ConfigError, DataError, FullpassError

_BY_A_WORKER = """UnimplementedError: Graph execution error:

Detected at node 'scale/Cast' defined at (most recent call last):
<stack traces unavailable>
Node: 'scale/Cast'
Cast string to float is not supported
\t [[{{node scale/Cast}}]]

Original stack trace for 'scale/Cast':
  File "elsewhere.py", line 3
"""
_LINES = {"scale/Cast": "features.py:7", "Cast": "features.py:9"}


@pytest.mark.parametrize(
    ("lines", "place"),
    [
        (_LINES, "features.py:7: preprocessing_fn failed"),
        ({"Cast": "features.py:9"}, "features.py:9: preprocessing_fn failed"),
        ({}, "preprocessing_fn: failed"),
    ],
)
def test_failure_in_a_worker_names_the_line(lines, place):
    with pytest.raises(ConfigError) as caught:
        with graph_errors(lines, "preprocessing_fn", ["column 'x' is text"], step="analyze"):
            raise FullpassError(_BY_A_WORKER)
    assert str(caught.value) == (
        f"analyze: {place} in TensorFlow at operation scale/Cast: Cast string to float is not supported; column 'x' is text"
    )


def test_hint_is_left_out_where_it_explains_nothing():
    with pytest.raises(ConfigError) as caught:
        with graph_errors(_LINES, "preprocessing_fn", ["column 'x' is text"]):
            raise FullpassError(
                _BY_A_WORKER.replace("Cast string to float is not supported", "Incompatible shapes: [2] vs. [3]")
            )
    assert str(caught.value).endswith("Incompatible shapes: [2] vs. [3]")


@pytest.mark.parametrize(
    "error", [DataError("cut", path="a", record=1), RuntimeError("ours"), OSError("disk"), MemoryError()]
)
def test_other_errors_stay_what_they_are(error):
    with pytest.raises(type(error)) as caught, graph_errors(_LINES, "preprocessing_fn"):
        raise error
    assert caught.value is error


def test_lines_that_were_not_noted_are_none(tmp_path):
    assert read_lines(tmp_path) == {}
    (tmp_path / "source_lines.json").write_text("{")
    assert read_lines(tmp_path) == {}
