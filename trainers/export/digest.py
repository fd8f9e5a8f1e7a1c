"""What a model is, as one number: a digest of its files, which a blessing, a card and a history of pushes are bound to."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Container
from pathlib import Path

from engine.core.errors import DataError

__all__ = ["CARD_JSON", "CARD_MARKDOWN", "EVALUATION_JSON", "model_digest", "tree_digest"]

# assets.extra is where serving systems expect files that are not the graph's.
CARD_JSON = "assets.extra/model_card.json"
CARD_MARKDOWN = "assets.extra/model_card.md"
EVALUATION_JSON = "assets.extra/evaluation.json"
# They speak of the model and carry its digest: they cannot be part of it.
_ABOUT = frozenset({CARD_JSON, CARD_MARKDOWN, EVALUATION_JSON})


def model_digest(directory: str | os.PathLike[str]) -> str:
    """Returns the sha256 of a SavedModel: of all its files but the card and the evaluation, wherever it lies.

    Raises:
        DataError: a file that cannot be read, or none at all.
    """
    return tree_digest(directory, leave_out=_ABOUT)


def tree_digest(directory: str | os.PathLike[str], leave_out: Container[str] = ()) -> str:
    """Returns a sha256 over the names, sizes and bytes of all files below a directory.

    Args:
        directory: any.
        leave_out: names relative to it that do not count.

    Raises:
        DataError: a file that cannot be read, or none at all.
    """
    digest = hashlib.sha256()
    root = Path(directory)
    names = sorted(p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file())
    names = [name for name in names if name not in leave_out]
    if not names:
        raise DataError("holds no files, so it has no digest", path=str(root))
    for name in names:
        path = root / name
        try:
            digest.update(f"{name}\0{path.stat().st_size}\0".encode())
            with open(path, "rb") as file:
                while block := file.read(1 << 20):
                    digest.update(block)
        except OSError as error:
            raise DataError(f"cannot be read: {error.strerror}", path=str(path)) from None
    return digest.hexdigest()
