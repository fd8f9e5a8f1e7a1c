"""Export: a versioned SavedModel that takes raw examples, with the transform graph inside."""

from trainers.export.export import export_saved_model, latest_version, version_numbers, write_saved_model
from trainers.export.options import ExportOptions

__all__ = ["ExportOptions", "export_saved_model", "latest_version", "version_numbers", "write_saved_model"]
