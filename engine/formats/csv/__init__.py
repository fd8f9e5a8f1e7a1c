"""CSV files, which are ingested and never trained from."""
