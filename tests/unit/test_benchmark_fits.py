"""Curves through points of known laws give the laws back."""

import threading
import time

import pytest

from benchmarks.harness.fits import Scaling, line, scaling
from benchmarks.harness.stages import stages_of
from engine.core.json_text import parse_json
from engine.core.redaction import is_secret_name


def test_fixed_cost_and_slope_are_told_apart():
    fixed, slope = line([1, 10, 100], [0.5 + 0.02 * size for size in (1, 10, 100)])
    assert fixed == pytest.approx(0.5)
    assert slope == pytest.approx(0.02)


@pytest.mark.parametrize("seconds", [[0.9, 10.5, 103.0], [3.0, 2.0, 1.0]])
def test_neither_is_below_nothing(seconds):
    fixed, slope = line([1, 10, 100], seconds)
    assert fixed >= 0
    assert slope >= 0


def test_amdahls_law_and_its_prediction():
    law = Scaling(1000.0, 0.05, 0.0)
    found = scaling([1, 2, 4, 8], [law.predicted(n) for n in (1, 2, 4, 8)], coherence=False)
    assert found.contention == pytest.approx(0.05)
    assert found.predicted(64) == pytest.approx(1000 * 64 / (1 + 0.05 * 63))


def test_the_universal_law_tells_contention_from_coherence():
    law = Scaling(10.0, 0.03, 0.002)
    found = scaling([1, 2, 4, 8, 16], [law.predicted(n) for n in (1, 2, 4, 8, 16)])
    assert (found.contention, found.coherence) == pytest.approx((0.03, 0.002))
    assert found.predicted(32) < found.predicted(16) * 2


def test_more_than_linear_is_no_negative_share():
    found = scaling([1, 2, 4], [1.0, 2.2, 4.6])
    assert (found.contention, found.coherence) == (0, 0)


def test_stages_are_ours_from_the_outermost_in():
    text = "[" + ",".join(["1"] * 20_000) + "]"
    done = threading.Event()

    def work():
        until = time.monotonic() + 0.2
        while time.monotonic() < until:
            parse_json(text)

    def other_work():
        while not done.wait(0.001):
            is_secret_name("s3://bucket/" + "x" * 100_000)

    stranger = threading.Thread(target=other_work)  # that ran before is none of the action's
    stranger.start()
    try:
        for _ in range(100):  # on a busy machine the watcher may have no turn
            found = stages_of(work)
            if found:
                break
    finally:
        done.set()
        stranger.join()
    assert found and all(path.split(";")[0] == "json_text.parse_json" for path in found), found
    assert all(seconds > 0 for seconds in found.values())
