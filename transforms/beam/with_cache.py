"""`AnalyzeDatasetWithCache` with TFT's signature, inputs and outputs, on Fullpass's states.

Data sets come by key, with what a cache holds of each. Of a data set whose states are there nothing is read in the first phase; of
the others they are accumulated, given back for the cache, and merged with the rest. Analyzers of later phases rest on results of the
first over all data, so they read everything, as in TFT.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import apache_beam as beam
from tensorflow_transform.beam import analyzer_cache
from tensorflow_transform.beam import impl as tft_impl
from tensorflow_transform.beam.tft_beam_io import beam_metadata_io

from transforms.batches.features import AdapterSource
from transforms.beam.analyze_dataset import AnalyzeDataset, adapter_config
from transforms.beam.stages import AccumulateBundle, MergeKey
from transforms.beam.states import decode_state, encode_states, entry_key, unsealed
from transforms.passes.phases import PhasePlan, plan_phases
from transforms.tracing.trace import Trace

__all__ = ["AnalyzeDatasetWithCache", "keys_to_read"]

_TftAnalyzeDatasetWithCache = (
    tft_impl.AnalyzeDatasetWithCache
)  # kept, so that a test may put ours in the place of TFT's


class AnalyzeDatasetWithCache(AnalyzeDataset):
    """Returns ((transform function, metadata), cache) of (data sets by key, cache by key, metadata).

    Args:
        preprocessing_fn: the user's function, unchanged.
        pipeline: the pipeline, where no data set says it.
    """

    def _extract_input_pvalues(self, dataset: Any) -> Any:
        data, cache, metadata = dataset
        pvalues = [values for values in (data or {}).values() if values is not None]
        pvalues += [each for entries in (cache or {}).values() for each in entries.values()]
        if isinstance(metadata, beam_metadata_io.BeamDatasetMetadata):
            pvalues.append(metadata.deferred_metadata)
        if self.pipeline is None and not pvalues:
            raise ValueError("a pipeline must be given where there is neither data nor cache")
        return dataset, pvalues

    def expand(self, dataset: Any) -> Any:
        """Returns ((transform function, metadata), cache of the data sets that were read)."""
        data, cache, metadata = dataset
        data = dict(data or {})
        analyzer_cache.validate_dataset_keys(data.keys())
        if self._use_tf_compat_v1:
            return dataset | "TFT" >> _TftAnalyzeDatasetWithCache(self._preprocessing_fn, self.pipeline)
        to_batches, config = adapter_config(metadata)
        traced, unsupported = self.trace_input(config)
        if unsupported:
            return dataset | "TFT" >> _TftAnalyzeDatasetWithCache(self._preprocessing_fn, self.pipeline)
        _, pvalues = self._extract_input_pvalues(dataset)
        pipeline = self.pipeline or next(each.pipeline for each in pvalues)
        if to_batches is not None:
            for index, key in enumerate(sorted(data)):
                if data[key] is not None:
                    data[key] |= f"InstanceDictToRecordBatch[{index}]" >> to_batches
        plans = plan_phases(traced, AdapterSource(config))
        states, written = self._first_phase(pipeline, traced, plans, data, cache or {})
        values = None
        if any(plan.analyzers for plan in plans[1:]) or (plans and states is None):
            _require_all(data, "analyzers of later phases or with lookup tables read all data")
            values = tuple(data.values()) | "Data sets" >> beam.Flatten(pipeline=pipeline)
        elif len(plans) > 1:
            values = pipeline | "No values" >> beam.Create([])  # what is left is evaluated, from no pass
        return self._write(pipeline, traced, plans, self._phases(pipeline, values, traced, plans, states)), written

    def _first_phase(
        self,
        pipeline: Any,
        traced: Trace,
        plans: list[PhasePlan],
        data: Mapping[Any, Any],
        cache: Mapping[Any, Any],
    ) -> tuple[Any, dict[Any, Any]]:
        """Returns the states of the first phase (None where they cannot be kept) and the cache of what was read."""
        key = entry_key(plans[0]) if plans else None
        if key is None:
            return None, {}
        plan = unsealed(plans[0])
        known = pipeline | "Nothing known before" >> beam.Create([{}])
        states, written = [], {}
        for index, dataset_key in enumerate(sorted(data)):
            found = cache[dataset_key].get(key) if dataset_key.is_cached and dataset_key in cache else None
            if found is not None:
                states.append(found | f"DecodeCache[{index}]" >> beam.Map(decode_state))
                continue
            _require_all({dataset_key: data[dataset_key]}, "the cache does not hold its states")
            merged = (
                data[dataset_key]
                | f"Accumulate[Phase0][{index}]"
                >> beam.ParDo(AccumulateBundle(plan, traced.preprocessing_fn.lines), beam.pvalue.AsSingleton(known))
                | f"Group[Phase0][{index}]" >> beam.GroupByKey()
                | f"Merge[Phase0][{index}]" >> beam.ParDo(MergeKey(plan))
            )
            elements = merged | f"EncodeCache[{index}]" >> beam.FlatMap(encode_states)
            states.append(elements | f"States[{index}]" >> beam.Map(decode_state))
            if dataset_key.is_cached:
                written[dataset_key] = analyzer_cache.DatasetCache({key: elements}, _size(data[dataset_key], index))
        return tuple(states) | "States" >> beam.Flatten(pipeline=pipeline), written


def keys_to_read(
    preprocessing_fn: Callable[..., Any], config: Any, dataset_keys: Iterable[Any], cached: Callable[[Any, bytes], bool]
) -> tuple[set[Any], set[bytes]] | None:
    """Returns the data sets that an analysis must read and the entries of the cache that it uses; None where TFT itself would run.

    Args:
        preprocessing_fn: the user's function.
        config: `TensorAdapterConfig` of the data.
        dataset_keys: of all data sets.
        cached: whether a cache has an entry of a data set.
    """
    transform = AnalyzeDatasetWithCache(preprocessing_fn)
    traced, unsupported = transform.trace_input(config)
    if unsupported:
        return None
    plans = plan_phases(traced, AdapterSource(config))
    key = entry_key(plans[0]) if plans else None
    if not plans:
        return set(), set()
    if key is None:
        return set(dataset_keys), set()
    if any(plan.analyzers for plan in plans[1:]):
        return set(dataset_keys), {key}
    return {each for each in dataset_keys if not (each.is_cached and cached(each, key))}, {key}


def _require_all(data: Mapping[Any, Any], why: str) -> None:
    missing = [str(key) for key, values in data.items() if values is None]
    if missing:
        raise ValueError(f"data set {', '.join(missing)} is None, but it must be read: {why}")


def _size(values: Any, index: int) -> Any:
    return (
        values
        | f"Bytes[{index}]" >> beam.Map(lambda batch: batch.nbytes)
        | f"SumBytes[{index}]" >> beam.CombineGlobally(sum)
        | f"Metadata[{index}]" >> beam.Map(analyzer_cache.DatasetCacheMetadata)
    )
