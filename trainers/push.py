"""Versions of a served model: push, current, history, roll back. The code is in `trainers.serving.push`."""

from trainers.serving.push import current, history, push, rollback, versions

__all__ = ["current", "history", "push", "rollback", "versions"]
