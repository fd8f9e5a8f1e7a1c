"""A full pass on the Spark of k8s/spark in pods."""

from __future__ import annotations

import json

import pytest

from tests.clusters.kubernetes_passes import Changes, check_pass, deployed, smaller_requests
from tests.support.servers.kubernetes.spark_home import JOB_SERVER_JAR, STAGED_JAR, make_spark_home

# The first test of a session may have to build Kubernetes.
pytestmark = [pytest.mark.kubernetes, pytest.mark.spark, pytest.mark.timeout(3000)]

# The machine is small: one worker, and requests that it can grant. All else is as k8s/spark has it.
SMALLER: Changes = {
    "spark-master": smaller_requests(1),
    "spark-worker": [("/spec/replicas", 1), *smaller_requests(2)],
}
OPTIONS = (
    "--spark_master_url=spark://spark-master:7077",
    "--environment_type=EXTERNAL",
    "--environment_config=localhost:50000",
    "--work_dir=/data",
    "--parallelism=2",
    f"--spark_job_server_jar=/opt/spark/{JOB_SERVER_JAR}",
    f"--files_to_stage=/opt/spark/{STAGED_JAR}",
)


def test_a_submitted_pass_on_spark_in_pods_equals_the_local_pass(kube, fullpass_namespace, tmp_path):
    try:
        make_spark_home(kube.spark_home)
    except (RuntimeError, OSError) as error:
        pytest.skip(f"no Spark here: {error}")
    with deployed(kube, "spark", SMALLER, tmp_path):
        check_pass(kube, "spark", OPTIONS, fullpass_namespace, tmp_path)
        name = kube.kubectl("-n", "fullpass", "get", "pods", "-l", "component=master", "-o", "name").strip()
        path = f"/api/v1/namespaces/fullpass/{name.replace('pod/', 'pods/')}:8080/proxy/json/"
        ran = json.loads(kube.kubectl("get", "--raw", path))["completedapps"]
        assert ran and all(each["state"] == "FINISHED" and each["cores"] == 2 for each in ran), ran
