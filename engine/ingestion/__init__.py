"""From whatever the data is in (CSV, Parquet, TFRecord, pipes) to a source of records, and on to shards."""
