"""Blocks of a data set for the feed: read, held to their counts, and cut where they are too large to be held."""
