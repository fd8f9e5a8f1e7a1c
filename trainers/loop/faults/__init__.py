"""What goes wrong in a step, reported with its place: values that are not finite, labels that do not fit, the records of a step."""
