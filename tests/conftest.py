"""What is deprecated is an error where a line of ours uses it: here, before it stops working for users."""

from __future__ import annotations

from pathlib import Path

import pytest

_OURS = r"(engine|transforms|trainers|cluster)(\.|$)"
_CLUSTERS = Path(__file__).parent / "clusters"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Adds the filters to every unit and system test; pyproject.toml ignores the same warnings of others."""
    for item in items:
        if not item.path.is_relative_to(_CLUSTERS):  # other programs run these
            for category in ("DeprecationWarning", "PendingDeprecationWarning", "FutureWarning"):
                item.add_marker(pytest.mark.filterwarnings(f"error::{category}:{_OURS}"))
