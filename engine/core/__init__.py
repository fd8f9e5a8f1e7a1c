"""What every other room uses and that reads no data: errors, settings, processes, ports, locks, the clock."""
