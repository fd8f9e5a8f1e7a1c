"""The processes of one server as a group: what one of them is told holds for all."""
