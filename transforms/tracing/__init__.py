"""A preprocessing_fn traced to a graph and its analysis operations."""
