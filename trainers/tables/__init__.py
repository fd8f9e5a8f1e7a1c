"""Embedding tables that no worker holds whole: rows are divided over the workers, updates touch only the rows of a batch."""
