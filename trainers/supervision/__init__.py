"""Processes that keep a training run alive: supervisors, their rendezvous, and the standby they fork from."""
