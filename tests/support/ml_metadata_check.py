"""Run where ML Metadata is: records a run twice and prints what the store holds, as JSON."""

import json
import sys

from ml_metadata.metadata_store import metadata_store
from ml_metadata.proto import metadata_store_pb2 as pb

from cluster.tracking import track

work_dir, file = sys.argv[1:]
said = [track(work_dir, f"mlmd:{file}", name="clicks") for _ in range(2)]
config = pb.ConnectionConfig()
config.sqlite.filename_uri = file
store = metadata_store.MetadataStore(config)
types = {t.id: t.name for t in [*store.get_artifact_types(), *store.get_execution_types()]}
executions = store.get_executions()
artifacts = {a.id: a for a in store.get_artifacts()}
events = store.get_events_by_execution_ids([e.id for e in executions])
kinds = {pb.Event.INPUT: "input", pb.Event.OUTPUT: "output"}
names = {e.id: types[e.type_id] for e in executions}
(evaluation,) = store.get_artifacts_by_type("ModelEvaluation")
print(
    json.dumps(
        {
            "said": said,
            "executions": sorted(names.values()),
            "events": sorted(
                (names[e.execution_id], kinds[e.type], types[artifacts[e.artifact_id].type_id]) for e in events
            ),
            "contexts": {c.name: len(store.get_executions_by_context(c.id)) for c in store.get_contexts()},
            "rows": {types[e.type_id]: e.custom_properties["rows_in"].int_value for e in executions},
            "auc": evaluation.custom_properties["auc"].double_value,
            "blessed": evaluation.custom_properties["blessed"].int_value,
            "uri": evaluation.uri,
            "complete": all(e.last_known_state == pb.Execution.COMPLETE for e in executions),
        }
    )
)
