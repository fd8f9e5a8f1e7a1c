"""Where the members of a group meet: proven by a secret, agreed on who is there and what is next."""
