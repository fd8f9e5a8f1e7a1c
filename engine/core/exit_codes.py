"""Exit codes of every process of Fullpass; each means one thing, in the command line, in supervisors and in pods."""

from __future__ import annotations

__all__ = [
    "DONE",
    "FAILED",
    "FINAL",
    "INTERRUPTED",
    "MEANINGS",
    "NOT_MET",
    "PREEMPTED",
    "PROGRAM_ERROR",
    "WRONG_INPUT",
]

DONE = 0
FAILED = 1
WRONG_INPUT = 2
NOT_MET = 3
PROGRAM_ERROR = 4
INTERRUPTED = 128 + 2
PREEMPTED = 128 + 15

MEANINGS = {
    DONE: "done",
    FAILED: "an error of the machine or of Fullpass; of a supervisor: given up after its restarts",
    WRONG_INPUT: "wrong input: settings, data or a file that cannot be right; starting again cannot help",
    NOT_MET: "the command did its work and the answer is no: a threshold is not met, the data are damaged or do not fit",
    PROGRAM_ERROR: "an error in the user's training program; starting again cannot help",
    INTERRUPTED: "interrupted (Ctrl-C)",
    PREEMPTED: "asked to stop (SIGTERM); the state was saved",
}

# Starting the same again would only bring them back.
FINAL = (WRONG_INPUT, NOT_MET, PROGRAM_ERROR)
