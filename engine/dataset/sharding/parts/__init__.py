"""How records are dealt to the parts of an ingest: at random, by key, by time, stratified."""
