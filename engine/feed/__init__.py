"""The training feed: packed, shuffled, exactly resumable batches for tf.data and for plain Python."""

from __future__ import annotations

from typing import Any

from engine.feed.config import FeedConfig
from engine.feed.feed import Feed, feed_of
from engine.feed.mixture import MixedFeed, mix
from engine.feed.protocols import BlockData, TrainingData, TrainingFeed
from engine.formats.options import OnDamage
from engine.plan import Remainder

__all__ = [
    "BlockData",
    "Feed",
    "FeedConfig",
    "MixedFeed",
    "OnDamage",
    "TrainingData",
    "TrainingFeed",
    "make_feed",
    "mix",
]


def make_feed(dataset: BlockData, *, remainder: Remainder | None = None, **options: Any) -> Feed:
    """Returns a feed of a `Dataset`.

    Args:
        dataset: an opened `engine.Dataset`.
        remainder: what becomes of the records that do not fill a last batch; DROP by default.
        **options: the other fields of `FeedConfig`.

    Raises:
        ConfigError: an option out of its range.
    """
    config = FeedConfig(remainder=remainder or Remainder.DROP, **options)
    return feed_of(dataset, config)
