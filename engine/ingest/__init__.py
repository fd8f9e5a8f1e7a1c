"""Ingestion: whatever comes in, as shards with a manifest."""
