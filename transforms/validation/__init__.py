"""Validation: schemas of data, inferred and given; statistics held to them, and to the statistics of other data."""
