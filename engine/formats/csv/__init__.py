"""CSV: text of rows, read by all cores in pieces that end where a record ends, each column of the type that all its values fit."""
