"""What the machine gives: processes, ports, locks, the clock, the memory of a cgroup."""
