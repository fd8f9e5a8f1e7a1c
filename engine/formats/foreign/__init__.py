"""Formats that are read and not written: JSON lines, Arrow IPC and Feather, ORC, Avro."""
