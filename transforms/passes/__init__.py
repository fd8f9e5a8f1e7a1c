"""One pass over the data: what a worker does with a split."""
