"""Arrow columns as tensors of the graph, and the graph's tensors as Arrow columns."""
