"""From whatever the data is in to even shards with a manifest, split into parts where asked."""
