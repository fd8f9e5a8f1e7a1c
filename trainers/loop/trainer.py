"""The training loop from start to end: place, build, restore, step, evaluate, save."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from engine.core.errors import ConfigError
from engine.core.progress import Progress
from engine.core.run_log import tell
from trainers.callbacks.trackers import make_trackers
from trainers.checkpoints.progress_state import next_boundary
from trainers.config.config import TrainerConfig
from trainers.loop.interrupt import Preempted, StopRequest
from trainers.loop.session import Session
from trainers.loop.training_result import TrainResult
from trainers.models.context import ModelContext

if TYPE_CHECKING:
    from engine.feed.protocols import TrainingData

__all__ = ["Trainer"]


class Trainer:
    """Trains a model that survives its workers.

    Args:
        config: settings.
        build_model: makes the model from a `ModelContext`: a compiled Keras 3 or tf_keras model, or a tf.Module with
            `optimizer` and `compute_loss(features, labels, weights)`. It runs in the scope of the strategy.
        train: training data: an `engine.Dataset`, a `trainers.ArrayDataset`, or what else is an `engine.feed.TrainingData`.
        eval: the same for evaluation, or None.
        transform_graph: output directory of `transforms.analyze`; the context then has its `transform_output`.
        callbacks: `trainers.callbacks.Callback`s and Keras's, called on the chief; see docs/callbacks.md.
        code: name of a function to a digest of its code: a resumed run says which of them is another one than the checkpoint's.

    Raises:
        ConfigError: settings that need evaluation data and have none.
    """

    def __init__(
        self,
        config: TrainerConfig,
        build_model: Callable[[ModelContext], Any],
        train: TrainingData,
        eval: TrainingData | None = None,
        transform_graph: str | None = None,
        callbacks: Sequence[Any] = (),
        code: Mapping[str, str] | None = None,
    ) -> None:
        if config.early_stopping is not None and eval is None:
            raise ConfigError(f"early_stopping by {config.early_stopping.metric!r} needs evaluation data: give `eval`")
        self.config, self._build_model = config, build_model
        self._train, self._eval, self._graph = train, eval, transform_graph
        self._callbacks = [*callbacks, *make_trackers(config.trackers)]
        self._code = code

    def fit(self) -> TrainResult:
        """Trains to the end, from the last checkpoint of the directory where there is one.

        Returns:
            The result; with several workers each of them returns.

        Raises:
            ConfigError: model, data and settings do not fit each other.
            DataError: a shard is damaged or gone.
            CheckpointError: the directory's checkpoint belongs to another data set, schema, global batch or model.
            TrainingDiverged: a loss is not a number, under on_nan="stop".
            Preempted: SIGTERM or Ctrl-C came; the state was saved. It ends the process with exit code 143 or 130.
        """
        from engine.feed.tensorflow.faults import original_faults

        with StopRequest() as stop, original_faults():
            session = Session(
                self.config, self._build_model, self._train, self._eval, self._graph, self._callbacks, self._code
            )
            stop.listen()
            try:
                self._steps(session, stop)
                return session.finish()
            finally:
                session.close()

    def _steps(self, session: Session, stop: StopRequest) -> None:
        config, state, total = self.config, session.state, session.total_steps
        if state.stopped_early and state.step < total and session.placement.is_chief:
            best = "" if config.early_stopping is None else f": {state.best_as_text(config.early_stopping.metric)}"
            tell(f"nothing is trained, since this run was stopped early at step {state.step}{best}")
        with Progress("train", total, "steps") as progress:
            session.progress = progress
            progress.update(state.step)
            while state.step < total and not state.stopped_early:
                end = next_boundary(state.step, config, session.steps_per_epoch, total)
                stopping = session.call(end - state.step, stop.requested)
                if session.evaluation_due:
                    session.evaluate()
                session.end_epoch()
                if stopping and state.step < total:
                    session.preempted()
                    raise Preempted(state.step, stop.exit_code)
                if session.save_due:
                    session.save()
