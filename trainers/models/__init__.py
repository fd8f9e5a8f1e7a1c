"""Building models and telling one kind from another."""
