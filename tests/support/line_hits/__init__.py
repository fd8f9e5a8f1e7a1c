"""Which lines the tests run, in every process that they start: `python -m tests.support.line_hits -m pytest ...`.

coverage.py traces each line of each program, TensorFlow's too; on Python 3.11 that costs the tests half of their time again. Here a
line of ours carries its own mark instead: before the tests, each file of the four packages is compiled with a store of one byte before
each statement, and each process imports that code (`start.py`, from a .pth file, as coverage.py does for its own). The bytes lie in one
mapped file that all processes share: nothing is gathered at their end, and what is killed or ends by os._exit counts, too.
coverage.py then says what a statement is, what is excluded, and what is missing: it reads the same kind of data file.
"""
