"""What goes wrong in a step, told with its place: numbers that are none, labels that do not fit, the records of a step."""
