"""What becomes of the records that do not fill a last global batch."""

from __future__ import annotations

import enum

__all__ = ["Remainder"]


class Remainder(enum.Enum):
    """What happens at the end of an epoch to the num_records % global_batch_size records left over.

    Attributes:
        DROP: they are left out of this epoch; another order leaves out others in the next.
        PAD: a last batch of full size, filled up with zeros, with a `mask` that is False there.
        CARRY: they begin the first batch of the next epoch; nothing is left out, batches cross epochs. At the end of the
            last of a finite number of epochs there is no next one and they are left out.
        PARTIAL: a last batch that is shorter (its first dimension is then unknown to TensorFlow when tracing). With
            several hosts some may get an empty batch, so that all make the same number of steps.
    """

    DROP = "drop"
    PAD = "pad"
    CARRY = "carry"
    PARTIAL = "partial"
