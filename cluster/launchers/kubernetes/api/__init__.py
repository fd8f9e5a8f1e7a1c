"""The Kubernetes API: objects, logs, and what its errors mean."""
