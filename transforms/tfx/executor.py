"""TFX's Transform executor as a module of its own, in which `tft_beam` is `transforms.beam`.

TFX's executor has no place to give it another analysis. Its code is run once more under this module's name, where what it calls
`tft_beam` is ours: TFX's own module stays as it is, for everybody else in the process, and Beam finds the classes by their name here.

Where its pipeline would run on Beam's local runner, over tf.Examples in files of this machine, `LocalRun` writes the same outputs by
Fullpass's own passes, without a pipeline.
"""

from __future__ import annotations

import contextvars
import importlib.util
import inspect
import logging
import os
from collections.abc import Collection
from types import SimpleNamespace
from typing import Any

import tensorflow_transform.beam as _theirs
from tensorflow_transform.beam import analysis_graph_builder as _their_builder

import transforms.beam as _ours
from engine.core.errors import ConfigError
from transforms.beam.with_cache import keys_to_read
from transforms.tft.versions import private
from transforms.tfx.local_run import LocalRun, asset_map, input_columns, is_local, span_name, workers_option
from transforms.tfx.user_module import importable, in_this_process, is_user_module

__all__ = ["Executor"]

_SOURCE = "tfx.components.transform.executor"
_log = logging.getLogger(__name__)  # here, since TFX's code, run below, takes the name `logging` for absl's
_config: contextvars.ContextVar[Any] = contextvars.ContextVar("transform_input")


def _cache_entry_keys(preprocessing_fn: Any, specs: Any, dataset_keys: Collection[Any], compat_v1: bool = False) -> Any:
    """Returns the entries of the cache that an analysis uses, as TFT's function of this purpose does."""
    found = None if compat_v1 else keys_to_read(preprocessing_fn, _config.get(), dataset_keys, lambda *_: False)
    if found is None:
        return _their_builder.get_analysis_cache_entry_keys(preprocessing_fn, specs, dataset_keys, compat_v1)
    return found[1]


def _dataset_keys(
    preprocessing_fn: Any, specs: Any, dataset_keys: Collection[Any], cache: Any, compat_v1: bool = False
) -> Any:
    """Returns the data sets that an analysis must read, as TFT's function of this purpose does."""

    def cached(dataset_key: Any, entry: bytes) -> bool:
        return dataset_key in cache and cache[dataset_key].get(entry) is not None

    found = None if compat_v1 else keys_to_read(preprocessing_fn, _config.get(), dataset_keys, cached)
    if found is None:
        return _their_builder.get_analysis_dataset_keys(preprocessing_fn, specs, dataset_keys, cache, compat_v1)
    return found[0]


def _namespace() -> SimpleNamespace:
    builder = SimpleNamespace(get_analysis_cache_entry_keys=_cache_entry_keys, get_analysis_dataset_keys=_dataset_keys)
    ours = {name: getattr(_ours, name) for name in _ours.__all__}
    return SimpleNamespace(**{**vars(_theirs), **ours, "analysis_graph_builder": builder})


def _their_code() -> Any:
    spec = importlib.util.find_spec(_SOURCE)
    code = spec.loader.get_code(_SOURCE) if spec is not None and spec.loader is not None else None  # type: ignore[attr-defined]
    if code is None or "tft_beam" not in code.co_names:
        raise ConfigError(f"{_SOURCE} of the installed TFX does not call tft_beam; install tfx>=1.21,<1.22")
    return code


exec(_their_code(), globals())  # noqa: S102  # nosec B102 - TFX's own code
tft_beam = _namespace()
standard_component_specs: Any = globals()["standard_component_specs"]
_Processor: Any = globals()["TransformProcessor"]
_TheirExecutor: Any = globals()["Executor"]


class Executor(_TheirExecutor):  # type: ignore[misc]
    """TFX's Transform executor with Fullpass's passes.

    Args:
        context: of the run.
    """

    def __init__(self, context: Any = None) -> None:
        arguments = list(getattr(context, "beam_pipeline_args", None) or [])
        if not in_this_process(arguments):
            super().__init__(context)
            return
        # TFX packs its own source for Beam's remote workers whenever there are arguments; a run in this process needs none of it.
        context.beam_pipeline_args = []
        super().__init__(context)
        context.beam_pipeline_args = self._beam_pipeline_args = arguments

    def Do(self, input_dict: Any, output_dict: Any, exec_properties: Any) -> None:
        """Runs the component.

        Args:
            input_dict: examples, schema and maybe a cache: lists of artifacts by name.
            output_dict: artifacts to fill, by name.
            exec_properties: the component's arguments, as TFX's executor takes them.
        """
        key = standard_component_specs.MODULE_PATH_KEY
        module = exec_properties.get(key) or ""
        if not in_this_process(self._beam_pipeline_args) or not is_user_module(module):
            super().Do(input_dict, output_dict, exec_properties)
            return
        with importable(module) as name:
            super().Do(input_dict, output_dict, {**exec_properties, key: name})


class _OptimizeRun(private(_Processor, "_OptimizeRun", "tfx")):  # type: ignore[misc]
    """Knows the data's configuration while it asks for keys: default values and shapes are parts of ours."""

    def expand(self, pipeline: Any) -> Any:
        token = _config.set(self._analyze_data_list[0].tfxio.TensorAdapterConfig())
        try:
            return super().expand(pipeline)
        finally:
            _config.reset(token)


_their_run = private(_Processor, "_RunBeamImpl", "tfx")
_parameters = inspect.signature(_their_run)


def _run(self: Any, *args: Any, **kwargs: Any) -> Any:
    """Runs the component's work on this machine where that gives the same, else as TFX's pipeline."""
    given = _parameters.bind(self, *args, **kwargs).arguments
    local = _local_run(given)
    if local is None:
        return _their_run(self, *args, **kwargs)
    output = local.analyze()
    directories = local.transform()
    if not given["disable_statistics"]:
        _write_statistics(given, local, output, directories)
    local.materialize(directories)
    return _Status.OK()


def _local_run(given: Any) -> LocalRun | None:
    """Returns the run, or None, with a line in the log, where TFX's pipeline must do it."""
    data, transformed = given["analyze_data_list"], given["transform_data_list"]
    formats = {each.file_format for each in [*data, *transformed]} | {given["materialization_format"]}
    wanted, file_format = _FORMATS.get(given["raw_examples_data_format"], (None, None))
    pipeline = given["make_beam_pipeline_fn"]()
    names = [each.file_pattern for each in [*data, *transformed]]
    names += [given[name] for name in ("transform_output_path", "temp_path", "input_cache_dir", "output_cache_dir")]
    reasons = {
        "its pipeline's runner or paths are remote": not is_local(pipeline, names),
        "force_tf_compat_v1 is set": given["force_tf_compat_v1"],
        "save_options are set": given["save_options"] is not None,
        "the payload is neither tf.Example nor Parquet": file_format is None,
        f"a file format is not that of {file_format or 'the payload'}": not formats <= {wanted, None},
        "statistics are asked for by data set": bool(given["per_set_stats_output_paths"]),
    }
    try:
        run = LocalRun(
            analyzed={span_name(each.dataset_key): each.file_pattern for each in data},
            transformed=[(each.file_pattern, _prefix(each, given)) for each in transformed],
            schema=given["input_dataset_metadata"].schema,
            preprocessing_fn=given["preprocessing_fn"],
            out=given["transform_output_path"],
            temp=given["temp_path"],
            file_format=file_format or "tfrecord",
            cache_in=given["input_cache_dir"],
            cache_out=given["output_cache_dir"],
            runner_options=workers_option(pipeline),
        )
        if not any(reasons.values()):
            run.open()
            return run
    except ConfigError as error:
        reasons[str(error)] = True
    _log.info(
        "TFX's pipeline runs, with our analysis in it: %s", "; ".join(why for why, holds in reasons.items() if holds)
    )
    return None


def _prefix(dataset: Any, given: Any) -> str | None:
    return dataset.materialize_output_path if given["materialization_format"] is not None else None


def _write_statistics(given: Any, local: LocalRun, output: Any, directories: list[str]) -> None:
    """Writes statistics of the raw data that was analyzed and of all transformed data."""
    from transforms.tfx import statistics

    invoke, kinds, update = _invoke_options, stats_options_util.StatsType, given["stats_options_updater_fn"]
    places = given["stats_output_paths"]
    beside = os.path.join(local.out, "{}_feature_stats")
    options = invoke(update, kinds.PRE_TRANSFORM, local.schema)
    columns = input_columns(given["preprocessing_fn"], given["analyze_data_list"][0].tfxio)
    found = statistics.generate(local.raw_batches(columns), options)
    stats, schema, anomalies, post_stats, post_schema = (places.get(label) for label in _PLACES)
    before, after = beside.format("pre_transform"), beside.format("post_transform")
    statistics.write(found, options.schema, stats or before, schema or before)
    transformed = output.transformed_metadata.schema
    options = invoke(update, kinds.POST_TRANSFORM, transformed, asset_map(local.out), local.out)
    found = statistics.generate(local.transformed_batches(directories), options)
    statistics.write(found, options.schema, post_stats or after, post_schema or after, anomalies or after)


_Status: Any = globals()["_Status"]
_invoke_options: Any = globals()["_InvokeStatsOptionsUpdaterFn"]
stats_options_util: Any = globals()["stats_options_util"]
_labels: Any = globals()["labels"]
_PLACES = (
    _labels.PRE_TRANSFORM_OUTPUT_STATS_PATH_LABEL,
    _labels.PRE_TRANSFORM_OUTPUT_SCHEMA_PATH_LABEL,
    _labels.POST_TRANSFORM_OUTPUT_ANOMALIES_PATH_LABEL,
    _labels.POST_TRANSFORM_OUTPUT_STATS_PATH_LABEL,
    _labels.POST_TRANSFORM_OUTPUT_SCHEMA_PATH_LABEL,
)
_example_gen: Any = globals()["example_gen_pb2"]
# By payload: TFX's name of the files' format, and ours.
_FORMATS: dict[int, tuple[str, str]] = {
    _example_gen.FORMAT_TF_EXAMPLE: (_labels.FORMAT_TFRECORD, "tfrecord"),
    _example_gen.FORMAT_PARQUET: (globals()["_FILE_FORMAT_PARQUET"], "parquet"),
}
setattr(_Processor, "_OptimizeRun", _OptimizeRun)  # noqa: B010 - of our copy of the class
setattr(_Processor, "_RunBeamImpl", _run)  # noqa: B010
