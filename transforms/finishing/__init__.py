"""From merged accumulators to the values of the analyzers."""
