"""The parts of a page about runs, each from the files that hold it."""
