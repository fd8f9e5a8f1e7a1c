"""What a server says of itself: metrics, access logs, traces, recorded requests."""
