"""What a version meets before it answers: whether and when it is loaded, and the requests that it is asked first."""
