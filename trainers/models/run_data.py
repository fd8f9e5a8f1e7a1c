"""The data of a run as this host reads them: what the model takes of them, batch by batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from engine.core.errors import ConfigError
from engine.dataset.arrays import ArrayDataset
from engine.feed.feed import Feed
from engine.feed.tensorflow.composite import assemble
from engine.plan import Remainder
from trainers.config.config import TrainerConfig
from trainers.data.alike import like_training
from trainers.data.labels import check_classes, check_labels, labels_of_classes
from trainers.data.targets import zeros_like_spec
from trainers.models.inputs import feature_columns
from trainers.models.padding import pad_lists
from trainers.strategies import Placement

if TYPE_CHECKING:
    import tensorflow as tf

    from engine.feed.protocols import TrainingData, TrainingFeed

__all__ = ["RunData"]


class RunData:
    """Training and evaluation data of a run.

    Args:
        config: settings.
        placement: which host this is.
        train: training data.
        evaluation: evaluation data, or None.

    Attributes:
        feed: of the training data, once opened.
        dataset: its tf.data.Dataset, once opened.
    """

    def __init__(
        self, config: TrainerConfig, placement: Placement, train: TrainingData, evaluation: TrainingData | None
    ) -> None:
        self._config, self._placement = config, placement
        self.train, self.evaluation = train, evaluation
        self._columns: list[str] | None = None
        self.feed: TrainingFeed
        self.dataset: tf.data.Dataset

    def check_labels(self) -> None:
        """Raises where a label has no value in some record, see `trainers.data.labels`; to be called before `open`."""
        for data in self._sets:
            check_labels(data, data.feature_spec(), self._config.labels)

    def check_classes(self, model: Any) -> None:
        """Raises where a label is a fraction that the compiled loss of a Keras model takes for the number of a class."""
        for data in self._sets:
            check_classes(data, labels_of_classes(getattr(model, "loss", None), self._config.labels))

    @property
    def _sets(self) -> list[TrainingData]:
        return [self.train] if self.evaluation is None else [self.train, self.evaluation]

    def training_feed(self, with_record_ids: bool | None = None) -> TrainingFeed:
        """Returns a new feed of the training data, of all columns before `open`, with record ids where they are noted.

        Raises:
            ConfigError: batches of like lengths are asked of data that have no lists.
        """
        config = self._config
        window: dict[str, Any] = {} if config.window_records is None else {"window_records": config.window_records}
        if config.bucket_by_length is not None or config.bucket_boundaries:
            if isinstance(self.train, ArrayDataset):
                raise ConfigError("bucket_by_length: an ArrayDataset has no lists of different lengths; leave it out")
            window |= {"bucket_by_length": config.bucket_by_length, "bucket_boundaries": config.bucket_boundaries}
        ids = config.audit if with_record_ids is None else with_record_ids
        size = config.global_batch_size
        return self._feed_of(self.train, size, columns=self._columns, with_record_ids=ids, **window)

    def evaluation_feed(self) -> TrainingFeed:
        """Returns a new feed of the evaluation data: every record once, the last batch padded."""
        size = self._config.eval_batch_size or self._config.global_batch_size
        last: dict[str, Any] = {"shuffle": False, "num_epochs": 1, "remainder": Remainder.PAD}
        assert self.evaluation is not None
        return self._feed_of(self.evaluation, size, columns=self._columns, **last)

    def open(self, features: list[str], state: Mapping[str, Any] | None) -> dict[str, Any]:
        """Opens the training data for what the model takes of it, and the evaluation data alike; returns a batch of zeros.

        Args:
            features: names of the features that are read.
            state: of the feed, where a checkpoint has one.

        Raises:
            ConfigError: the evaluation data have no records, or lack a column.
            DataError: the evaluation data do not fit the types of the training data.
        """
        others = [*self._config.labels, *([self._config.weight] if self._config.weight else [])]
        self._columns = feature_columns(self.train.schema, [*features, *others])
        if self.evaluation is not None:
            self.evaluation = like_training(self.evaluation, self.train, self._columns)
        self.feed = self.training_feed()
        if state is not None:
            self.feed.set_state(dict(state))
        # One pipeline for its shapes and for its batches: to trace it takes a good part of a restart.
        together = {"one_buffer": True} if self._placement.one_buffer and isinstance(self.feed, Feed) else {}
        self.dataset = self.feed.dataset(**together)
        return self.unpack_of(self.feed, self.train)(zeros_like_spec(self.dataset.element_spec))

    def unpack_of(self, feed: TrainingFeed, data: TrainingData) -> Callable[[Any], dict[str, Any]]:
        """Returns the function of packed batches of a feed to features, lists padded."""
        return lambda packed: pad_lists(assemble(data.schema, feed.unpack(packed)), self._config.pad)

    def _feed_of(self, data: TrainingData, batch_size: int, **more: Any) -> TrainingFeed:
        place, seed = self._placement, self._config.seed
        return data.feed(global_batch_size=batch_size, seed=seed, host=place.host, num_hosts=place.num_hosts, **more)
