"""What a training run is: frozen, checked when built, stored with every checkpoint."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from engine.core.configs import check_types, require
from engine.storage.tree import check_uri, is_local
from trainers.config.padding import PadList, as_pad_lists
from trainers.config.saving import CheckpointConfig, EarlyStopping

__all__ = ["LearningRate", "TrainerConfig"]

STRATEGIES = ("auto", "one_device", "mirrored", "multi_worker_mirrored", "parameter_server", "tpu")
TRACKERS = ("mlflow", "wandb")
_PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16", "bfloat16")
_ON_NAN = ("stop", "skip", "go_on")
_DECAYS = ("constant", "linear", "cosine", "exponential")


@dataclass(frozen=True, kw_only=True)
class LearningRate:
    """A learning-rate schedule that replaces the optimizer's own: linear warm-up to `peak`, then a decay to `end`.

    Args:
        peak: highest rate.
        warmup_steps: optimizer steps from 0 to `peak`.
        decay: "constant", "linear", "cosine" or "exponential".
        decay_steps: steps the decay takes after the warm-up; None: up to the last step of the training.
        end: rate after the decay; for "exponential" it must be more than 0.
    """

    peak: float
    warmup_steps: int = 0
    decay: str = "constant"
    decay_steps: int | None = None
    end: float = 0.0

    def __post_init__(self) -> None:
        check_types(self)
        require(self.peak > 0, "peak", self.peak, "more than 0")
        require(self.warmup_steps >= 0, "warmup_steps", self.warmup_steps, "0 or more")
        require(self.decay in _DECAYS, "decay", self.decay, f"one of {', '.join(_DECAYS)}")
        require(
            self.decay_steps is None or self.decay_steps >= 1, "decay_steps", self.decay_steps, "at least 1, or None"
        )
        require(self.end >= 0, "end", self.end, "0 or more")
        require(self.decay != "exponential" or self.end > 0, "end", self.end, "more than 0 for an exponential decay")


@dataclass(frozen=True, kw_only=True)
class TrainerConfig:
    """Settings of one training run.

    Args:
        directory: where checkpoints and logs go; local, or a URI (s3://, gs://, hdfs://), which all workers see.
        label: transformed feature that is the label, several names for several labels, None for a model without one.
        weight: transformed feature that is the weight of each example, or None.
        features: features that are read and handed to the model; None: those that the inputs of a functional model name, all
            of them for a model that does not say (a subclassed one, a tf.Module).
        pad: list feature to its `PadList`: such a feature is dense, in the served model too.
        global_batch_size: examples a step, over all workers and devices.
        epochs: passes over the training data; give `epochs` or `steps`, not both.
        steps: optimizer steps in all.
        strategy: a name of the registry; "auto" takes what TF_CONFIG and the visible devices ask for.
        strategy_options: keyword arguments of that strategy's module.
        steps_per_call: steps inside one call of the compiled function. It is also the grid on which saves, stops and the
            synchronisation of BatchNorm statistics happen. 16 steps take the Python part of a 1 ms step under 3 %.
        seed: of initial weights, dropout and the order of examples.
        window_records: records shuffled together, None: the feed's own choice. More of it mixes sorted data better and
            takes more memory.
        bucket_by_length: list feature by whose lengths records of a window are put into batches of similar ones, which then
            need less padding; None: batches at random. It is read, so it is a feature of the model.
        bucket_boundaries: lengths at which the buckets begin, ascending, as of tf.data's `bucket_by_sequence_length`.
        precision: "float32", "mixed_bfloat16", "mixed_float16" (with loss scaling) or "bfloat16": the Keras policy
            under which the model is built.
        xla: compile the step with XLA: all of it under one_device, unless it is deterministic on a GPU or reads strings or lists
            of varying length; else the forward and backward pass.
        deterministic: make TensorFlow's operations deterministic: needed where bits must repeat (see docs/training.md).
        accumulate_steps: each replica computes its part of the batch in this many equal slices and adds up gradients.
        clip_norm: largest norm of all gradients together, after their sum over the replicas; None: no clipping.
        learning_rate: a schedule, or a number (then a `LearningRate` of that constant rate), in place of the optimizer's own rate.
        ema_decay: decay of an exponential moving average of the weights, which evaluation and export then use.
        class_weights: factor of an example by its integer label.
        early_stopping: None: never.
        checkpoint: when and what to save.
        warm_start: a checkpoint directory, `.keras` or `.weights.h5` file whose weights start a new training.
        log_every_steps: steps between two lines of metrics (TensorBoard, progress).
        tensorboard: write scalars for TensorBoard to DIRECTORY/logs.
        trackers: "mlflow" or "wandb" to the arguments of `trainers.callbacks.MLflowTracker` or `WandbTracker`.
        profile_steps: (first, last) steps to profile for TensorBoard.
        eval_every_steps: None: at the end of each epoch.
        eval_steps: batches of one evaluation, None: all of the data.
        eval_batch_size: None: the global batch size.
        hyperparameters: handed to build_model in the context, JSON-able.
        on_nan: what happens at a loss that is not a finite number: "stop" with the step, its records and the last good
            checkpoint; "skip" takes the step back (all variables are copied each step); "go_on" trains on.
        audit: write the ids of the records of every step to DIRECTORY/audit, which must be local.
    """

    directory: str
    global_batch_size: int
    label: str | Sequence[str] | None = None
    weight: str | None = None
    features: Sequence[str] | None = None
    pad: Mapping[str, PadList] = field(default_factory=dict)
    epochs: int | None = None
    steps: int | None = None
    strategy: str = "auto"
    strategy_options: Mapping[str, Any] = field(default_factory=dict)
    steps_per_call: int = 16
    seed: int = 0
    window_records: int | None = None
    bucket_by_length: str | None = None
    bucket_boundaries: Sequence[int] = ()
    precision: str = "float32"
    xla: bool = False
    deterministic: bool = True
    accumulate_steps: int = 1
    clip_norm: float | None = None
    learning_rate: LearningRate | float | None = None
    ema_decay: float | None = None
    class_weights: Mapping[int, float] | None = None
    early_stopping: EarlyStopping | None = None
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    warm_start: str | None = None
    log_every_steps: int = 100
    tensorboard: bool = True
    trackers: Mapping[str, Any] = field(default_factory=dict)
    profile_steps: tuple[int, int] | None = None
    eval_every_steps: int | None = None
    eval_steps: int | None = None
    eval_batch_size: int | None = None
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)
    on_nan: str = "stop"
    audit: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "directory", str(self.directory))
        if isinstance(self.learning_rate, int | float):
            require(self.learning_rate > 0, "learning_rate", self.learning_rate, "more than 0")
            object.__setattr__(self, "learning_rate", LearningRate(peak=self.learning_rate))
        check_types(self)
        object.__setattr__(self, "pad", as_pad_lists(self.pad))
        self._check_features()
        for name, arguments in self.trackers.items():
            require(name in TRACKERS, "trackers", name, f"allowed are {', '.join(TRACKERS)}")
            require(
                isinstance(arguments, Mapping), f"trackers.{name}", arguments, "a mapping of its arguments, e.g. {}"
            )
        require(bool(self.directory), "directory", self.directory, "a directory for checkpoints and logs")
        check_uri("directory", self.directory)
        require(
            not self.audit or is_local(self.directory),
            "audit",
            self.audit,
            f"false, since {self.directory} is not local",
        )
        for key in ("global_batch_size", "steps_per_call", "accumulate_steps", "log_every_steps"):
            require(getattr(self, key) >= 1, key, getattr(self, key), "a whole number, at least 1")
        for key in ("epochs", "steps", "eval_every_steps", "eval_steps", "eval_batch_size", "window_records"):
            value = getattr(self, key)
            require(value is None or value >= 1, key, value, "a whole number, at least 1, or None")
        require(
            (self.epochs is None) != (self.steps is None),
            "epochs",
            self.epochs,
            f"either epochs or steps (steps is {self.steps!r})",
        )
        require(self.strategy in STRATEGIES, "strategy", self.strategy, f"one of {', '.join(STRATEGIES)}")
        require(self.precision in _PRECISIONS, "precision", self.precision, f"one of {', '.join(_PRECISIONS)}")
        require(self.on_nan in _ON_NAN, "on_nan", self.on_nan, f"one of {', '.join(_ON_NAN)}")
        require(self.clip_norm is None or self.clip_norm > 0, "clip_norm", self.clip_norm, "more than 0, or None")
        require(
            self.ema_decay is None or 0 < self.ema_decay < 1, "ema_decay", self.ema_decay, "between 0 and 1, e.g. 0.999"
        )
        if self.profile_steps is not None:
            first, last = self.profile_steps
            require(0 <= first <= last, "profile_steps", self.profile_steps, "(first, last) with 0 <= first <= last")
        if self.class_weights is not None:
            require(
                isinstance(self.label, str),
                "label",
                self.label,
                "one label of whole numbers, since class_weights are given",
            )
            fit = [k >= 0 and v >= 0 for k, v in self.class_weights.items()]
            allowed = "a mapping of classes from 0 to weights of 0 or more"
            require(bool(fit) and all(fit), "class_weights", self.class_weights, allowed)

    def _check_features(self) -> None:
        if self.features is None:
            return
        require(
            bool(self.features), "features", self.features, "at least one name, or None for what the model asks for"
        )
        taken = [name for name in self.features if name in self.labels]
        require(
            not taken,
            "features",
            self.features,
            f"names without {taken[:1]}, a label, which the model is not given as well",
        )

    @property
    def labels(self) -> tuple[str, ...]:
        """Returns the names of the label features."""
        if self.label is None:
            return ()
        return (self.label,) if isinstance(self.label, str) else tuple(self.label)

    def as_json(self) -> dict[str, Any]:
        """Returns the settings as plain JSON values, for the checkpoint."""
        return dataclasses.asdict(self)
