"""One training run in one process: what `Trainer.fit` works with."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from engine.core.environment import PROGRESS, RUN_ID
from engine.core.errors import ConfigError
from engine.core.progress import Progress
from engine.core.run_log import record, tell
from engine.feed.protocols import TrainingData
from trainers.callbacks.base import TrainingRun
from trainers.callbacks.group import CallbackGroup
from trainers.checkpoints import checkpoint as files
from trainers.checkpoints.directory import checkpoint_path, latest_checkpoint
from trainers.checkpoints.directory_lock import lock_directory
from trainers.checkpoints.optimizer_state import describe_optimizer, restore_optimizer
from trainers.checkpoints.progress_state import TrainingState
from trainers.checkpoints.resume import (
    agreed_checkpoint,
    all_committed,
    origin,
    schema_text,
    set_random_state,
    shared_parts,
)
from trainers.checkpoints.saver import Saver
from trainers.compat.keras import renew_constants
from trainers.config.config import TrainerConfig
from trainers.loop.asynchronous import AsynchronousLoop, AsynchronousMetrics, AsynchronousValidation
from trainers.loop.audit import AuditLog
from trainers.loop.device_usage import DeviceUsage
from trainers.loop.faults.divergence import DivergenceWatch
from trainers.loop.faults.records_of_step import StepRecords
from trainers.loop.faults.user_faults import explained_faults
from trainers.loop.reporting import Meter, Profiler, Reporter, Stopwatch, opening_line
from trainers.loop.synchronous import CallResult, SynchronousLoop
from trainers.loop.training_result import TrainResult
from trainers.loop.validation import MetricCollector, Validation
from trainers.models.adapters import ModelAdapter
from trainers.models.build import build
from trainers.models.checks import check_model
from trainers.models.context import ModelContext, context_of
from trainers.models.run_data import RunData
from trainers.models.warm_start import warm_start
from trainers.strategies import Placement, create_placement
from trainers.supervision.supervisor_client import current_link

__all__ = ["Session"]


class Session:
    """A started training: strategy, model, restored state, loop.

    Args: see `Trainer`.
    """

    def __init__(
        self,
        config: TrainerConfig,
        build_model: Callable[[ModelContext], Any],
        train: TrainingData,
        evaluation: TrainingData | None,
        transform_graph: str | None,
        callbacks: Sequence[Any] = (),
        code: Mapping[str, str] | None = None,
    ) -> None:
        self.config, self._train, self._eval, self._code = config, train, evaluation, code or {}
        self._seconds = Stopwatch()
        self._link = current_link()
        self._link.phase("imported")
        if config.deterministic:
            tf.config.experimental.enable_op_determinism()
        keras.utils.set_random_seed(config.seed)
        self.placement: Placement = create_placement(config.strategy, config.strategy_options)
        self._check_batch()
        self._held = contextlib.ExitStack()
        if self.placement.is_chief:
            self._lock = lock_directory(config.directory, RUN_ID.read())
            self._held.callback(self._lock.release)
        try:
            self._start(build_model, transform_graph, callbacks)
        except BaseException:
            self._held.close()
            raise

    def _start(
        self, build_model: Callable[[ModelContext], Any], transform_graph: str | None, callbacks: Sequence[Any]
    ) -> None:
        config, train = self.config, self._train
        self._link.phase("connected")
        self._data = RunData(config, self.placement, train, self._eval)
        self.steps_per_epoch: int = self._data.training_feed().steps_per_epoch
        self.total_steps: int = config.steps or (config.epochs or 0) * self.steps_per_epoch
        self._saver = Saver(config.directory, config.checkpoint, on_commit=lambda step: self._link.send(committed=step))
        if self.placement.is_chief:
            self._saver.clean()
        saved = agreed_checkpoint(config, self.placement, schema_text(train), self._code)
        context = context_of(config, train, transform_graph, self.total_steps)
        self._data.check_labels()
        self._text_labels = [name for name, spec in context.label_spec.items() if spec.dtype == tf.string]
        state = saved.state["feed"] if saved is not None else None
        with explained_faults(config.labels, self._text_labels):
            self._built = build(
                config, self.placement, build_model, context, lambda names: self._data.open(names, state)
            )
        self._data.check_classes(self.adapter.model)
        notes = check_model(config, self.placement, self.adapter, self._built.tables)
        if notes and self.placement.is_chief:
            tell("\n".join(notes))
        variables = self.adapter.named_variables["optimizer"]
        trained, rate = len(self.adapter.trainable), self.adapter.learning_rate
        self._optimizer = describe_optimizer(self.adapter.optimizer, variables, rate, trained)
        self._link.phase("built")
        self.state, self.resumed_from = TrainingState(), 0
        self._restore(saved)
        self._link.phase("restored")
        self._start_loop()
        self._start_callbacks(callbacks, saved)

    @property
    def adapter(self) -> ModelAdapter:
        """The model with loss, optimizer and metrics."""
        return self._built.adapter

    def _check_batch(self) -> None:
        size, replicas = self.config.global_batch_size, self.placement.num_replicas
        parts = replicas * self.config.accumulate_steps
        if size % parts:
            raise ConfigError(
                f"global_batch_size={size} cannot be divided by {replicas} replicas x "
                f"{self.config.accumulate_steps} accumulate_steps: give a multiple of {parts}"
            )

    def _restore(self, saved: files.Checkpoint | None) -> None:
        built = self._built
        if saved is None:
            if self.config.warm_start:
                warm_start(built.adapter, self.config.warm_start, built.assign)
                if built.averages is not None:
                    built.averages.copy()
                if built.tables:
                    files.load_checkpoint(self.config.warm_start).restore_tables(built.tables, training=False)
            return
        saved.restore_tables(built.tables)
        for group, named in built.groups(saved.state["variables"]).items():
            if group == "optimizer":
                note = restore_optimizer(saved, named, self._optimizer, built.assign)
                if note and self.placement.is_chief:
                    tell(note)
            else:
                files.assign_group(saved, group, named, built.assign)
        if "loss" in built.groups() and "loss" not in saved.state["variables"] and self.placement.is_chief:
            tell(f"{saved.path} has no variables of the loss, which begin anew: an earlier version did not save them")
        renew_constants(built.adapter.model)
        self.state = TrainingState.resumed(saved.state, self.config.early_stopping)
        set_random_state(saved.state["random"])
        self.resumed_from = saved.step
        self._saver.restored(saved.step, saved.path)
        if self.state.best_step is not None:
            self._saver.pinned = {self.state.best_step}

    def _start_loop(self) -> None:
        config, chief = self.config, self.placement.is_chief
        asynchronous = self.placement.coordinator is not None
        kind = AsynchronousLoop if asynchronous else SynchronousLoop
        data = self._data
        unpack = data.unpack_of(data.feed, data.train)
        self._loop = kind(self.placement, self.adapter, unpack, config, self._built.averages)
        self._loop.start(data.dataset, self.state.step)
        self._metrics = (AsynchronousMetrics if asynchronous else MetricCollector)(self.placement, self.adapter)
        self._validation: Validation | None = None
        self._meter = Meter(config.global_batch_size, skips=config.on_nan == "skip")
        self._usage = DeviceUsage()
        self._reporter, self._profiler = Reporter(config, chief), Profiler(config, chief)
        self._audit = AuditLog(config.directory, self.placement.host) if config.audit else None
        self.progress: Progress | None = None
        self._pending: tuple[int, int, Callable[[], CallResult]] | None = None
        self._first_step = self.state.step
        self._last: dict[str, float] = {}
        self._records = StepRecords(
            lambda: self._data.training_feed(with_record_ids=True),
            lambda step: self._data.feed.get_state(step - self._first_step),
            self.steps_per_epoch,
        )
        self._watch = DivergenceWatch(config, self.state, self._records.describe, self._saver.finished_path, chief)
        self._seconds.lap("start")
        if chief:
            say = tell if PROGRESS.read() else record
            say(opening_line(config, self.placement, self.state.step, self.total_steps, self.steps_per_epoch))

    def _start_callbacks(self, callbacks: Sequence[Any], saved: files.Checkpoint | None) -> None:
        run = TrainingRun(self.adapter.model, self.config, self.total_steps, self.steps_per_epoch, self.state.step)
        self._callbacks = CallbackGroup(callbacks, run, self.placement, self.adapter)
        states = saved.state.get("callbacks", ()) if saved is not None else ()
        self._callbacks.start(states, saved.tensors("callbacks") if saved is not None else {})

    def call(self, num_steps: int, stop_requested: bool) -> bool:
        """Makes steps in one call and returns whether some worker was asked to stop.

        Where the loop runs ahead, the call is only queued, and the one before it is taken in while the device works on it.
        Whatever looks at the state of the training takes the last one in first: a save, an evaluation, a line of metrics.
        """
        before = self.state.step
        self._profiler.at(before)
        audit = self._audit
        note = (lambda ids: None) if audit is None else (lambda ids: audit.write(before, ids))
        with self._explained(before, num_steps):
            read = self._loop.launch(num_steps, stop_requested, on_records=note)
        stop = self._settle()
        self._pending = (before, num_steps, read)
        self.state.step += num_steps
        logs = self.state.step // self.config.log_every_steps > before // self.config.log_every_steps
        watched = self._callbacks.present or self.config.profile_steps is not None
        at_once = logs or stop_requested or watched or before == self._first_step
        if at_once or not self._loop.runs_ahead:
            stop = self._settle()
        self._profiler.at(self.state.step)
        if logs:
            self._log()
        return stop

    def _explained(self, before: int, num_steps: int) -> Any:
        place = functools.partial(self._records.place_of_label, before, num_steps)
        return explained_faults(self.config.labels, self._text_labels, place)

    def _settle(self) -> bool:
        """Waits for a call that was queued, takes its result in, and returns whether some worker was asked to stop."""
        if self._pending is None:
            return False
        (before, num_steps, read), self._pending = self._pending, None
        with self._explained(before, num_steps):
            result = read()
        step = before + num_steps
        self._seconds.lap("compute", result.input_share, num_steps * self.config.global_batch_size)
        if before == self._first_step:
            self._link.phase("stepped")
        self._link.send(step=step)
        self._watch.look_at(before, result.losses)
        self._meter.add(result)
        if self._callbacks.called(step, float(result.losses[-1])):
            self.state.stopped_early = True
        if self.progress is not None:
            self.progress.update(step, f"loss {result.losses[-1]:.4g}")
        return result.stop

    def _log(self) -> None:
        self._settle()
        if self._meter.empty:
            return
        read, own = {**self._meter.read(), **self._usage.read()}, self.adapter.own_train_step
        counted = self._metrics.collect(() if own else self.adapter.updated_in_training)
        # The mean of a model's own loss tracker is its loss; elsewhere a tracker of that name counts evaluations only.
        self._last = {**(read | counted if own else counted | read), "learning_rate": self.adapter.learning_rate}
        self._reporter.scalars("train", self.state.step, {**self._last, "epoch": self.epoch})
        self._callbacks.logged(self._last)

    @property
    def epoch(self) -> float:
        """Passes over the data so far."""
        return self.state.step / self.steps_per_epoch

    @property
    def evaluation_due(self) -> bool:
        """Whether this step is one after which the model is evaluated."""
        return self._eval is not None and (self._evaluates_here or self.state.step == self.total_steps)

    @property
    def _evaluates_here(self) -> bool:
        return self.state.step % (self.config.eval_every_steps or self.steps_per_epoch) == 0

    def evaluate(self) -> None:
        """Evaluates the model, records the result, decides about early stopping, and tells the callbacks."""
        self._log()
        with explained_faults(self.config.labels, self._text_labels):
            metrics = self._evaluated()
        self._seconds.lap("evaluate")
        self._reporter.scalars("eval", self.state.step, metrics)
        train = {f"train_{k}": v for k, v in self._last.items()}
        self.state.history.append({"step": self.state.step, "epoch": self.epoch, **train, **metrics})
        self._judge(metrics)
        if self._callbacks.evaluated(metrics):
            self.state.stopped_early = True

    def _judge(self, metrics: dict[str, float]) -> None:
        """Decides about early stopping."""
        stopping = self.config.early_stopping
        if stopping is None:
            return
        if self.state.judge(metrics, stopping):
            self._saver.pinned = {self.state.step}
            self.save()
        if self.state.stopped_early and self.placement.is_chief:
            tell(f"early stopping at step {self.state.step}: {self.state.best_as_text(stopping.metric)}")

    def end_epoch(self) -> None:
        """What the end of an epoch is for callbacks where there is no evaluation data."""
        # Only for callbacks: a line of metrics more would make the curve of a run depend on whether it has any.
        if self._eval is None and self._callbacks.present and self.state.step % self.steps_per_epoch == 0:
            self._log()
            if self._callbacks.evaluated({}):
                self.state.stopped_early = True

    def _evaluated(self) -> dict[str, float]:
        assert self._data.evaluation is not None  # an evaluation is due only where there are data for it
        feed = self._data.evaluation_feed()
        if self._validation is None:
            kind = Validation if self.placement.coordinator is None else AsynchronousValidation
            unpack = self._data.unpack_of(feed, self._data.evaluation)
            self._validation = kind(self.placement, self.adapter, unpack, self.config, self._metrics)
        steps = min(feed.steps_per_epoch, self.config.eval_steps or feed.steps_per_epoch)
        averages, nothing = self._built.averages, contextlib.nullcontext()
        # An evaluation that a longer run would not make must not be seen by what goes on from here.
        carrying_on = nothing if self._evaluates_here else self._built.carrying_on()
        with carrying_on, nothing if averages is None else averages.in_place_of_weights():
            return self._validation.run(feed.dataset(), steps)

    @property
    def save_due(self) -> bool:
        """Whether a checkpoint should be written now."""
        at_end = self.state.step % self.steps_per_epoch == 0 and self.config.checkpoint.every_steps is None
        return at_end or self._saver.due(self.state.step)

    def save(self, wait: bool = False) -> None:
        """Commits a checkpoint of this step, on the chief."""
        self._settle()
        parts = shared_parts(self._built.tables, self.placement, self.config.directory, self.state.step, self._saver)
        if not self.placement.is_chief:
            return
        self._lock.check()
        tensors = self._built.tensors() | self._callbacks.tensors()
        state = {
            "finite": self._watch.look_at_weights(tensors, self._built.trained_names),
            "optimizer": self._optimizer,
            "training": self.state.as_json(),
            "feed": self._data.feed.get_state(self.state.step - self._first_step),
            "callbacks": self._callbacks.get_states(),
            "epoch": self.epoch,
        } | origin(self.config, self.placement, schema_text(self._train), self._code)
        self._saver.save(self.state.step, tensors, state, wait, parts)
        self._seconds.lap("save")

    def finish(self) -> TrainResult:
        """Commits the last checkpoint and returns the result."""
        self._log()
        self._callbacks.ended()
        if self._saver.due(self.state.step) or self._saver.last_path is None or self.state.step > self._first_step:
            self.save(wait=True)
        all_committed(self.config.directory, self.placement, self.state.step)
        best, evaluated = None, self.state.history[-1] if self.state.history else {}
        stopping = self.config.early_stopping
        if stopping is not None and self.state.best_step is not None:
            best = checkpoint_path(self.config.directory, self.state.best_step)
            evaluated = next(h for h in self.state.history if h["step"] == self.state.best_step)
            if stopping.restore_best:
                self._built.take_weights(files.load_checkpoint(best), self._optimizer)
        self._built.take_averages()
        scores = {k: v for k, v in evaluated.items() if k not in ("step", "epoch") and not k.startswith("train_")}
        return TrainResult(
            model=self.adapter.model,
            steps=self.state.step,
            epochs=self.epoch,
            metrics=self._last,
            eval_metrics=scores,
            history=self.state.history,
            checkpoint=latest_checkpoint(self.config.directory),
            best_checkpoint=best,
            stopped_early=self.state.stopped_early,
            resumed_from=self.resumed_from,
            seconds=self._seconds.seconds,
            examples_per_s=self._seconds.examples_per_s,
            is_chief=self.placement.is_chief,
        )

    def preempted(self) -> None:
        """Commits this step; returns on every worker after the chief has committed."""
        self.save(wait=True)
        all_committed(self.config.directory, self.placement, self.state.step)
        if self.placement.is_chief:
            where = f"stopped at step {self.state.step:,} of {self.total_steps:,}, saved in {self._saver.last_path}"
            tell(f"{where}; the same command goes on from there")

    def close(self) -> None:
        """Waits for a save under way and closes files."""
        self._saver.wait()
        self._loop.close()
        self._profiler.stop()
        self._reporter.close()
        self.placement.close()
        self._held.close()
