"""Processes that keep a training alive: supervisors, their rendezvous, and the standby they fork from."""
