"""What is deprecated is an error where a line of ours uses it: here, before it stops working for users. Slow files begin first."""

from __future__ import annotations

import collections
import contextlib
from pathlib import Path

import pytest

from tests.support.line_hits.start import DEPRECATIONS, OURS

with contextlib.suppress(ImportError):  # a machine that is lent for its GPU has no more than tests/gpu needs
    from hypothesis import HealthCheck, settings

    # Both count seconds, and on a loaded machine two draws of a few words took 46: no fault of what is tested.
    settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("any machine")

_CLUSTERS = Path(__file__).parent / "clusters"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Adds the filters to every unit and system test; pyproject.toml ignores the same warnings of others.

    In what the tests start the same filters hold under `make test` (line_hits/start.py).

    In a worker of pytest-xdist the files with most slow tests come first, then those with most tests (its own order, which
    `--no-loadscope-reorder` leaves to us): one that began last would keep one worker busy while the others have nothing left.
    """
    for item in items:
        if not item.path.is_relative_to(_CLUSTERS):  # other programs run these
            for category in DEPRECATIONS:
                item.add_marker(pytest.mark.filterwarnings(f"error::{category.__name__}:{OURS}"))
    if hasattr(config, "workerinput"):
        tests = collections.Counter(item.path for item in items)
        slow = collections.Counter(item.path for item in items if item.get_closest_marker("slow"))
        items.sort(key=lambda item: (-slow[item.path], -tests[item.path]))
