"""Segments: rows of equal values or of one bucket, alone or crossed."""
