"""Where a member of a job stands in its group."""
