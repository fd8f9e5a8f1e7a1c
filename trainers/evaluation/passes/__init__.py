"""The pass over the data: what a worker adds up, how it is merged, and how it runs."""
