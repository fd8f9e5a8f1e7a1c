"""A real Kubernetes cluster of one node for the tests: built from the Go module proxy, removed by killing one process."""
