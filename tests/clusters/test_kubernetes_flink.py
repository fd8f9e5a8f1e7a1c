"""A full pass on the Flink of k8s/flink in pods."""

from __future__ import annotations

import pytest

from tests.clusters.kubernetes_passes import Changes, check_pass, deployed, smaller_requests
from tests.support.servers.kubernetes.flink_home import JOB_SERVER_JAR, make_flink_home

# The first test of a session may have to build Kubernetes.
pytestmark = [pytest.mark.kubernetes, pytest.mark.flink, pytest.mark.timeout(3000)]

# The machine is small: one TaskManager, and requests that it can grant. All else is as k8s/flink has it.
SMALLER: Changes = {
    "flink-jobmanager": smaller_requests(1),
    "flink-taskmanager": [("/spec/replicas", 1), *smaller_requests(2)],
}
OPTIONS = (
    "--flink_master=flink-jobmanager:8081",
    "--environment_type=EXTERNAL",
    "--environment_config=localhost:50000",
    "--work_dir=/data",
    "--parallelism=2",
    f"--flink_job_server_jar=/opt/flink/{JOB_SERVER_JAR}",
)


def test_a_submitted_pass_on_flink_in_pods_equals_the_local_pass(kube, fullpass_namespace, tmp_path):
    try:
        make_flink_home(kube.flink_home)
    except (RuntimeError, OSError) as error:
        pytest.skip(f"no Flink here: {error}")
    with deployed(kube, "flink", SMALLER, tmp_path):
        check_pass(kube, "flink", OPTIONS, fullpass_namespace, tmp_path)
