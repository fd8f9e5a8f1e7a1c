"""The pipeline runner: steps as data, finished work found again by the hash of its inputs."""
