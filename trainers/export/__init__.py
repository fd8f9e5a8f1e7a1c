"""Export: a versioned SavedModel that takes raw examples, with the transform graph inside."""

from trainers.export.export import export_saved_model, latest_version, version_numbers, write_saved_model

__all__ = ["export_saved_model", "latest_version", "version_numbers", "write_saved_model"]
