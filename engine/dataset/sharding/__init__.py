"""Any source as even shards with a manifest, split into parts where asked: what `Dataset.write` and `ingest` both do."""
