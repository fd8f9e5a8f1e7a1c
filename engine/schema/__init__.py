"""Feature specs and Arrow schemas, one as the other; fitting a batch to a schema or refusing it."""
