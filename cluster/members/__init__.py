"""The place of a member of a job in its group."""
