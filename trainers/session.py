"""One run of a training in one process: what `Trainer.fit` works with."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from engine.errors import ConfigError
from engine.progress import Progress
from trainers import checkpoint as files
from trainers.adapters import adapt
from trainers.async_loop import AsynchronousLoop, AsynchronousMetrics, AsynchronousValidation
from trainers.audit import AuditLog
from trainers.config import TrainerConfig
from trainers.context import ModelContext
from trainers.ema import WeightAverages
from trainers.examples import split_example, zeros_like_spec
from trainers.loop import SynchronousLoop
from trainers.precision import precision_policy
from trainers.progress_state import TrainingState
from trainers.reporting import Meter, Profiler, Reporter
from trainers.result import TrainResult
from trainers.saver import Saver
from trainers.schedule import schedule_function
from trainers.strategies import Placement, create_placement
from trainers.supervision.link import current_link
from trainers.validation import MetricCollector, Validation
from trainers.warm_start import warm_start

__all__ = ["Session"]


class Session:
    """A started training: strategy, model, restored state, loop.

    Args: see `Trainer`.
    """

    def __init__(
        self,
        config: TrainerConfig,
        build_model: Callable[[ModelContext], Any],
        train: Any,
        evaluation: Any,
        transform_graph: str | None,
    ) -> None:
        self.config, self._train, self._eval = config, train, evaluation
        self._link = current_link()
        self._link.phase("imported")
        if config.deterministic:
            tf.config.experimental.enable_op_determinism()
        keras.utils.set_random_seed(config.seed)
        self.placement: Placement = create_placement(config.strategy, config.strategy_options)
        self._check_batch()
        self._link.phase("connected")
        window = {} if config.window_records is None else {"window_records": config.window_records}
        self._feed = self._feed_of(train, config.global_batch_size, with_record_ids=config.audit, **window)
        self.steps_per_epoch: int = self._feed.steps_per_epoch
        self.total_steps: int = config.steps or (config.epochs or 0) * self.steps_per_epoch
        self._build(build_model, transform_graph)
        self._link.phase("built")
        self.state = TrainingState()
        self._saver = Saver(config.directory, config.checkpoint, on_commit=lambda step: self._link.send(committed=step))
        self._restore()
        self._link.phase("restored")
        self._start_loop()

    def _check_batch(self) -> None:
        size, replicas = self.config.global_batch_size, self.placement.num_replicas
        parts = replicas * self.config.accumulate_steps
        if size % parts:
            raise ConfigError(
                f"global_batch_size={size} cannot be divided by {replicas} replicas x "
                f"{self.config.accumulate_steps} accumulate_steps: give a multiple of {parts}"
            )

    def _feed_of(self, data: Any, batch_size: int, **more: Any) -> Any:
        place = self.placement
        return data.feed(
            global_batch_size=batch_size, seed=self.config.seed, host=place.host, num_hosts=place.num_hosts, **more
        )

    def _build(self, build_model: Callable[[ModelContext], Any], transform_graph: str | None) -> None:
        config, strategy = self.config, self.placement.strategy
        spec = dict(self._train.feature_spec())
        others = {*config.labels, *([config.weight] if config.weight else [])}
        missing = sorted(others - set(spec))
        if missing:
            raise ConfigError(f"label or weight {missing[0]!r}: the data has {', '.join(sorted(spec))}")
        self.context = ModelContext(
            feature_spec={k: v for k, v in spec.items() if k not in others},
            label_spec={k: spec[k] for k in config.labels},
            transform_output=_transform_output(transform_graph),
            hyperparameters=dict(config.hyperparameters),
            steps=self.total_steps,
        )
        self._dataset_spec = self._feed.dataset().element_spec
        with strategy.scope():
            with precision_policy(config.precision):
                model = build_model(self.context)
            self.adapter = adapt(model)
            if config.learning_rate is not None:
                self.adapter.set_learning_rate(schedule_function(config.learning_rate, self.total_steps))
            example = self._feed.unpack(zeros_like_spec(self._dataset_spec))
            self.adapter.prepare(*split_example(example, config))
        self._averages = None
        if config.ema_decay is not None:
            self._averages = WeightAverages(strategy, self.adapter.trainable, config.ema_decay)

    def _restore(self) -> None:
        step = self._agreed_step()
        if step is None:
            if self.config.warm_start:
                warm_start(self.adapter, self.config.warm_start, self._assign)
                if self._averages is not None:
                    self._averages.copy()
            self.resumed_from = 0
            return
        saved = files.load_checkpoint(files.checkpoint_path(self.config.directory, step))
        self._check_fits(saved)
        for group, named in self._groups().items():
            files.assign_group(saved, group, named, self._assign)
        self._feed.set_state(saved.state["feed"])
        self.state = TrainingState.from_json(saved.state["training"])
        _set_random_state(saved.state["random"])
        self._saver.restored(step, saved.path)
        if self.state.best_step is not None:
            self._saver.pinned = {self.state.best_step}
        self.resumed_from = step

    def _agreed_step(self) -> int | None:
        if self.placement.is_chief:
            self._saver.clean()
        steps = files.checkpoint_steps(self.config.directory)
        mine = steps[-1] if steps else -1
        if self.placement.num_hosts == 1:
            return mine if mine >= 0 else None
        # The chief says from where: what a worker sees of a shared directory may be older or newer by a moment.
        said = float(mine) if self.placement.is_chief else 0.0
        strategy = self.placement.strategy

        def replica(value):
            first = tf.distribute.get_replica_context().replica_id_in_sync_group == 0
            return tf.distribute.get_replica_context().all_reduce(
                tf.distribute.ReduceOp.SUM, tf.where(first, value, 0.0)
            )

        agree = tf.function(lambda v: strategy.run(replica, args=(v,)), autograph=False)
        agreed = int(strategy.experimental_local_results(agree(tf.constant(said, tf.float64)))[0].numpy())
        return agreed if agreed >= 0 else None

    def _check_fits(self, saved: files.Checkpoint) -> None:
        here = _schema_text(self._train)
        for name in sorted(set(here) | set(saved.state["schema"])):
            if here.get(name) != saved.state["schema"].get(name):
                raise files.CheckpointError(
                    f"{saved.path} belongs to other data: field '{name}' is {saved.state['schema'].get(name)} there, "
                    f"{here.get(name)} here; train in another directory, or use warm_start"
                )
        batch = saved.state["config"]["global_batch_size"]
        if batch != self.config.global_batch_size:
            raise files.CheckpointError(
                f"{saved.path} was trained with global_batch_size={batch}, now it is {self.config.global_batch_size}: "
                "keep it, or train in another directory"
            )

    def _groups(self) -> dict[str, list[tuple[str, Any]]]:
        groups = self.adapter.named_variables
        if self._averages is not None:
            groups["average"] = [(v.name, a) for v, a in zip(self.adapter.trainable, self._averages.averages)]
        return groups

    def _assign(self, variable: Any, value: Any) -> None:
        for part in self.placement.strategy.experimental_local_results(variable):
            part.assign(value)

    def _start_loop(self) -> None:
        config, chief = self.config, self.placement.is_chief
        asynchronous = self.placement.coordinator is not None
        kind = AsynchronousLoop if asynchronous else SynchronousLoop
        self._loop = kind(self.placement, self.adapter, self._feed.unpack, config, self._averages)
        self._loop.start(self._feed.dataset())
        self._metrics = (AsynchronousMetrics if asynchronous else MetricCollector)(self.placement, self.adapter)
        self._validation: Validation | None = None
        self._meter = Meter(config.global_batch_size)
        self._reporter, self._profiler = Reporter(config, chief), Profiler(config, chief)
        self._audit = AuditLog(config.directory, self.placement.host) if config.audit else None
        self.progress: Progress | None = None
        self._first_step = self.state.step
        self._last: dict[str, float] = {}

    def call(self, num_steps: int, stop_requested: bool) -> bool:
        """Makes steps in one call and returns whether some worker was asked to stop."""
        before = self.state.step
        self._profiler.at(before)
        result = self._loop.run(num_steps, stop_requested)
        self.state.step += num_steps
        self._profiler.at(self.state.step)
        if before == self._first_step:
            self._link.phase("stepped")
        self._link.send(step=self.state.step)
        if self._audit is not None:
            self._audit.write(before, result.record_ids)
        self._meter.add(result)
        if self.state.step // self.config.log_every_steps > before // self.config.log_every_steps:
            self._log()
        if self.progress is not None:
            self.progress.update(self.state.step, f"loss {result.losses[-1]:.4g}")
        return result.stop

    def _log(self) -> None:
        if self._meter.empty:
            return
        self._last = {**self._meter.read(), **self._metrics.collect(), "learning_rate": self.adapter.learning_rate}
        self._reporter.scalars("train", self.state.step, {**self._last, "epoch": self.epoch})

    @property
    def epoch(self) -> float:
        """Passes over the data so far."""
        return self.state.step / self.steps_per_epoch

    @property
    def evaluation_due(self) -> bool:
        """Whether this step is one after which the model is evaluated."""
        every = self.config.eval_every_steps or self.steps_per_epoch
        return self._eval is not None and (self.state.step % every == 0 or self.state.step == self.total_steps)

    def evaluate(self) -> None:
        """Evaluates the model, records the result, and decides about early stopping."""
        self._log()
        metrics = self._evaluated()
        self._reporter.scalars("eval", self.state.step, metrics)
        train = {f"train_{k}": v for k, v in self._last.items()}
        self.state.history.append({"step": self.state.step, "epoch": self.epoch, **train, **metrics})
        stopping = self.config.early_stopping
        if stopping is None:
            return
        if stopping.metric not in metrics:
            raise ConfigError(f"early_stopping.metric={stopping.metric!r}: the evaluation has {', '.join(metrics)}")
        if self.state.judge(metrics, stopping):
            self._saver.pinned = {self.state.step}
            self.save()

    def _evaluated(self) -> dict[str, float]:
        from engine.plan import Remainder

        size = self.config.eval_batch_size or self.config.global_batch_size
        feed = self._feed_of(self._eval, size, shuffle=False, num_epochs=1, remainder=Remainder.PAD)
        if self._validation is None:
            kind = Validation if self.placement.coordinator is None else AsynchronousValidation
            self._validation = kind(self.placement, self.adapter, feed.unpack, self.config, self._metrics)
        steps = min(feed.steps_per_epoch, self.config.eval_steps or feed.steps_per_epoch)
        swapped = self._averages.in_place_of_weights() if self._averages is not None else contextlib.nullcontext()
        with swapped:
            return self._validation.run(feed.dataset(), steps)

    @property
    def save_due(self) -> bool:
        """Whether a checkpoint should be written now."""
        at_end = self.state.step % self.steps_per_epoch == 0 and self.config.checkpoint.every_steps is None
        return at_end or self._saver.due(self.state.step)

    def save(self, wait: bool = False) -> None:
        """Commits a checkpoint of this step, on the chief."""
        if not self.placement.is_chief:
            return
        local = self.placement.strategy.experimental_local_results
        groups = self._groups().items()
        tensors = {g: [(name, local(v)[0].read_value()) for name, v in named] for g, named in groups}
        state = {
            "training": self.state.as_json(),
            "feed": self._feed.get_state(self.state.step - self._first_step),
            "schema": _schema_text(self._train),
            "random": _random_state(),
            "config": self.config.as_json(),
            "strategy": {"name": self.placement.name, "hosts": self.placement.num_hosts},
            "versions": {"tensorflow": tf.__version__, "keras": keras.__version__},
            "epoch": self.epoch,
            "saved_at": time.time(),
        }
        self._saver.save(self.state.step, tensors, state, wait)

    def finish(self) -> TrainResult:
        """Commits the last checkpoint and returns the result."""
        self._log()
        if self._saver.due(self.state.step) or self._saver.last_path is None or self.state.step > self._first_step:
            self.save(wait=True)
        self._barrier()
        best, evaluated = None, self.state.history[-1] if self.state.history else {}
        stopping = self.config.early_stopping
        if stopping is not None and self.state.best_step is not None:
            best = files.checkpoint_path(self.config.directory, self.state.best_step)
            evaluated = next(h for h in self.state.history if h["step"] == self.state.best_step)
            if stopping.restore_best:
                files.assign_group(files.load_checkpoint(best), "model", self._groups()["model"], self._assign)
        if self._averages is not None:
            for average, variable in zip(self._averages.averages, self.adapter.trainable):
                self._assign(variable, self.placement.strategy.experimental_local_results(average)[0].read_value())
        skip = ("step", "epoch")
        return TrainResult(
            model=self.adapter.model,
            steps=self.state.step,
            epochs=self.epoch,
            metrics=self._last,
            eval_metrics={k: v for k, v in evaluated.items() if k not in skip and not k.startswith("train_")},
            history=self.state.history,
            checkpoint=files.latest_checkpoint(self.config.directory),
            best_checkpoint=best,
            stopped_early=self.state.stopped_early,
            resumed_from=self.resumed_from,
            is_chief=self.placement.is_chief,
        )

    def preempted(self) -> None:
        """Commits this step; returns on every worker after the chief has committed."""
        self.save(wait=True)
        self._barrier()

    def _barrier(self) -> None:
        # The chief's last commit is there before any worker says that it is done.
        if self.placement.num_hosts > 1:
            self._agreed_step()

    def close(self) -> None:
        """Waits for a save under way and closes files."""
        self._saver.wait()
        self._profiler.stop()
        self._reporter.close()
        self.placement.close()


def _transform_output(graph: str | None) -> Any:
    if graph is None:
        return None
    import tensorflow_transform as tft

    return tft.TFTransformOutput(graph)


def _schema_text(data: Any) -> dict[str, str]:
    return {field.name: f"{field.type}{'' if field.nullable else ' not null'}" for field in data.schema}


def _random_state() -> dict[str, Any]:
    name, keys, position, has_gauss, gauss = np.random.get_state()  # type: ignore[misc]
    version, internal, spare = random.getstate()
    return {
        "numpy": [name, np.asarray(keys).tolist(), position, has_gauss, gauss],
        "python": [version, list(internal), spare],
    }


def _set_random_state(state: Mapping[str, Any]) -> None:
    name, keys, position, has_gauss, gauss = state["numpy"]
    np.random.set_state((name, np.array(keys, np.uint32), position, has_gauss, gauss))
    version, internal, spare = state["python"]
    random.setstate((version, tuple(internal), spare))
