"""`AnalyzeDataset` with TFT's signature, inputs and outputs."""

from __future__ import annotations

import logging
import os
import uuid
from collections.abc import Callable
from typing import Any

import apache_beam as beam
import tensorflow as tf
from tensorflow_transform import impl_helper, schema_inference
from tensorflow_transform.beam import Context
from tensorflow_transform.beam import impl as tft_impl
from tensorflow_transform.beam.tft_beam_io import beam_metadata_io
from tensorflow_transform.tf_metadata import dataset_metadata, metadata_io
from tfx_bsl.tfxio.tensor_adapter import TensorAdapter

from transforms.batches.features import AdapterSource
from transforms.beam.stages import AccumulateBundle, MergeKey, evaluate_phase, phase_model
from transforms.output.transform_graph import write_transform_fn
from transforms.passes.phase_saved_model import replacements
from transforms.passes.phases import PhasePlan, plan_phases
from transforms.planning.plan import unsupported_operations
from transforms.tft.annotations import RANGED_TENSORS
from transforms.tft.beam_impl import instance_dicts_to_batches
from transforms.tracing.trace import Trace, trace

__all__ = ["AnalyzeDataset", "adapter_config"]

_log = logging.getLogger(__name__)
_TftAnalyzeDataset = tft_impl.AnalyzeDataset  # kept, so that a test may put ours in the place of TFT's


class AnalyzeDataset(beam.PTransform):
    """Returns the transform function of a preprocessing_fn over a data set.

    Args:
        preprocessing_fn: the user's function, unchanged.
        pipeline: the pipeline, where the data set does not say it.
    """

    def __init__(self, preprocessing_fn: Callable[..., Any], pipeline: Any = None) -> None:
        super().__init__()
        self._preprocessing_fn = preprocessing_fn
        self.pipeline = pipeline
        self._save_options = Context.get_save_options()
        self._use_tf_compat_v1 = Context.get_use_tf_compat_v1()

    def _extract_input_pvalues(self, dataset: Any) -> Any:
        data, metadata = dataset
        pvalues = [data]
        if isinstance(metadata, beam_metadata_io.BeamDatasetMetadata):
            pvalues.append(metadata.deferred_metadata)
        return dataset, pvalues

    def expand(self, dataset: Any) -> Any:
        """Returns (transform function, metadata)."""
        if self._use_tf_compat_v1:
            _log.info("TensorFlow Transform's own analysis runs: the pipeline asks for tf.compat.v1")
            return dataset | "TFT" >> _TftAnalyzeDataset(self._preprocessing_fn, self.pipeline)
        values, metadata = dataset
        to_batches, config = adapter_config(metadata)
        traced, unsupported = self.trace_input(config)
        if unsupported:
            return dataset | "TFT" >> _TftAnalyzeDataset(self._preprocessing_fn, self.pipeline)
        pipeline = self.pipeline or values.pipeline
        if to_batches is not None:
            values |= "InstanceDictToRecordBatch" >> to_batches
        plans = plan_phases(traced, AdapterSource(config))
        return self._write(pipeline, traced, plans, self._phases(pipeline, values, traced, plans))

    def trace_input(self, config: Any) -> tuple[Trace, bool]:
        """Returns the traced function, and whether it has something that TFT alone can do.

        Raises:
            ValueError: the metadata have no features, as in TFT.
        """
        specs = TensorAdapter(config).OriginalTypeSpecs()
        if not specs:
            raise ValueError("The input metadata is empty.")
        traced = trace(self._preprocessing_fn, specs, Context.create_base_temp_dir())
        unsupported = unsupported_operations(traced)
        for each in unsupported:
            _log.warning("TensorFlow Transform's own analysis runs: %s: %s", each.label, each.reason)
        return traced, bool(unsupported)

    def _write(self, pipeline: Any, traced: Trace, plans: list[PhasePlan], known: Any) -> Any:
        """Returns (transform function, metadata) of the results of all phases."""
        transform_fn = (
            pipeline
            | "CreateSole" >> beam.Create([None])
            | "WriteTransformFn"
            >> beam.Map(
                _write_transform_fn,
                beam.pvalue.AsSingleton(known),
                preprocessing_fn=traced.preprocessing_fn,
                specs=traced.specs,
                temp_dir=traced.temp_dir,
                fingerprint=traced.fingerprint,
                bindings=tuple(binding for plan in plans for binding in plan.evaluation.bindings),
                save_options=self._save_options,
            ).with_output_types(str)
        )
        # Typed: Beam gives what has no type the one of the first transform that returns it, which a second one then refuses.
        deferred = transform_fn | "ReadMetadata" >> beam.Map(_read_metadata).with_output_types(
            dataset_metadata.DatasetMetadata
        )
        schema = dataset_metadata.DatasetMetadata(schema=_static_schema(traced))
        return transform_fn, beam_metadata_io.BeamDatasetMetadata(schema, deferred, traced.asset_map)

    def _phases(
        self, pipeline: Any, values: Any, traced: Trace, plans: list[PhasePlan], first_states: Any = None
    ) -> Any:
        """Returns the results of all phases.

        Args:
            pipeline: of the data.
            values: record batches; None where no phase after the first needs them.
            traced: the traced function.
            plans: of all phases.
            first_states: states of the first phase by key, where something else than a read of the values gives them.
        """
        bindings = tuple(binding for plan in plans for binding in plan.evaluation.bindings)
        known = pipeline | "Nothing known" >> beam.Create([{}])
        # One for all phases, which come one after the other: two vocabularies of one file name meet there.
        assets = os.path.join(traced.temp_dir, "assets-" + uuid.uuid4().hex[:8])
        for plan in plans:
            label = f"Phase{plan.number}"
            known_side = beam.pvalue.AsSingleton(known)
            model = None
            if plan.needs_saved_model:
                made = (
                    pipeline
                    | f"CreateSole[{label}]" >> beam.Create([None])
                    | f"WritePhaseModel[{label}]"
                    >> beam.Map(
                        phase_model,
                        known_side,
                        plan=plan,
                        preprocessing_fn=traced.preprocessing_fn,
                        specs=traced.specs,
                        temp_dir=traced.temp_dir,
                        bindings=bindings,
                    )
                )
                model = beam.pvalue.AsSingleton(made)
            if plan.number == 0 and first_states is not None:
                states = first_states
            else:
                states = values | f"Accumulate[{label}]" >> beam.ParDo(
                    AccumulateBundle(plan, traced.preprocessing_fn.lines), known_side, model
                )
            merged = states | f"Group[{label}]" >> beam.GroupByKey() | f"Merge[{label}]" >> beam.ParDo(MergeKey(plan))
            known = (
                pipeline
                | f"CreateOne[{label}]" >> beam.Create([None])
                | f"Evaluate[{label}]"
                >> beam.Map(evaluate_phase, beam.pvalue.AsIter(merged), known_side, plan=plan, assets_dir=assets)
            )
        return known


def adapter_config(metadata: Any) -> tuple[Any, Any]:
    """Returns (TFT's PTransform from instance dicts to record batches or None, TensorAdapterConfig) of an input's metadata.

    Raises:
        ValueError: passthrough keys with instance dicts, as in TFT.
    """
    if not isinstance(metadata, dataset_metadata.DatasetMetadata):
        return None, metadata
    if Context.get_passthrough_keys():
        raise ValueError("passthrough_keys need record batches with a TensorAdapterConfig, not instance dicts")
    to_batches = instance_dicts_to_batches(metadata.schema, Context.get_desired_batch_size())
    return to_batches, to_batches.tensor_adapter_config()


def _write_transform_fn(
    _: Any,
    known: Any,
    preprocessing_fn: Any,
    specs: Any,
    temp_dir: str,
    fingerprint: Any,
    bindings: Any,
    save_options: Any,
) -> str:
    path = os.path.join(temp_dir, "transform-" + uuid.uuid4().hex[:8])
    write_transform_fn(
        preprocessing_fn, specs, temp_dir, fingerprint, replacements(known, bindings), path, save_options
    )
    return path


def _read_metadata(path: str) -> Any:
    return metadata_io.read_metadata(os.path.join(path, impl_helper.METADATA_DIR_NAME))


def _static_schema(traced: Trace) -> Any:
    """The schema as far as it is known before the data is seen."""
    key = RANGED_TENSORS
    ranged = {key: [tf.constant(feature) for feature in traced.ranged_features]}
    return schema_inference.infer_feature_schema_v2(traced.outputs, lambda: ranged, evaluate_schema_overrides=False)
