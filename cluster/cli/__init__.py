"""The `fullpass` command line."""
