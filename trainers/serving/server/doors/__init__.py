"""How requests come in: gRPC and REST."""
