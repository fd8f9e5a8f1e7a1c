"""Features, labels and weights of a batch."""
