"""Accumulators: mergeable states of analyzers, one a file, found through a registry by TFT's operation definitions."""

from transforms.accumulators.base import Accumulator, Part, Reduction, SourceInfo
from transforms.accumulators.framing import decode_state, encode_state
from transforms.accumulators.registry import ACCUMULATORS, accumulator_for

__all__ = [
    "ACCUMULATORS",
    "Accumulator",
    "Part",
    "Reduction",
    "SourceInfo",
    "accumulator_for",
    "decode_state",
    "encode_state",
]
