"""File formats: what they have in common, and the registry that finds the module of each."""
