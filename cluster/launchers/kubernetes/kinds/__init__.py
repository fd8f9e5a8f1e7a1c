"""The kinds of Kubernetes objects that can run a job."""
