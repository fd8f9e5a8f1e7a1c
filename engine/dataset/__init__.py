"""Data sets: files with a manifest, opened, read, checked and written."""
