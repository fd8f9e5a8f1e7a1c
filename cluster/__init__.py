"""Where a job runs: this machine, Ray, Kubernetes; the pipeline runner and the command line."""
