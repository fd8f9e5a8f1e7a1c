"""What is deprecated is an error where a line of ours uses it: here, before it stops working for users."""

from __future__ import annotations

import pytest

_OURS = r"(engine|transforms|trainers|cluster)(\.|$)"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Adds the filters to every test below this directory; pyproject.toml ignores the same warnings of others."""
    for item in items:
        if "tests/unit/" in item.path.as_posix():
            for category in ("DeprecationWarning", "PendingDeprecationWarning", "FutureWarning"):
                item.add_marker(pytest.mark.filterwarnings(f"error::{category}:{_OURS}"))
