"""The component and its executor: arguments, inputs and outputs are those of `tfx.components.Transform`.

    from transforms.tfx import Transform      # instead of: from tfx.components import Transform

Transform graph, transformed examples, the updated cache, schemas, statistics and anomalies are all there. What TFX reads, validates
and encodes it still does by its own means; analysis and transformation are Fullpass's. A pipeline that has a Transform already takes
the executor alone: `Transform(..., ).with_custom_executor_spec(executor_spec.BeamExecutorSpec(transforms.tfx.Executor))`.
"""

from __future__ import annotations

from tfx.components.transform import component as theirs
from tfx.dsl.components.base import executor_spec

from transforms.tfx.executor import Executor

__all__ = ["Executor", "Transform"]


class Transform(theirs.Transform):
    """TFX's Transform component with Fullpass's analysis and transformation; see there for its arguments."""

    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(Executor)
