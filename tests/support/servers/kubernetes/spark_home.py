"""A Spark distribution as its image has it at /opt/spark: PyPI's pyspark, with Beam's job server beside it."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.support.servers.beam_jars import spark_job_server_jar, thin_jar
from tests.support.servers.kubernetes.flink_home import take
from tests.support.servers.spark import SPARK_DRIVER, pyspark_home, spark_jars

__all__ = ["JOB_SERVER_JAR", "STAGED_JAR", "make_spark_home"]

JOB_SERVER_JAR = "beam-spark-job-server.jar"
STAGED_JAR = "beam-spark.jar"


def make_spark_home(folder: Path) -> Path:
    """Writes the distribution into a folder, which pods see as /opt/spark, and returns the folder."""
    home = pyspark_home()
    for name in ("bin", "jars"):
        shutil.copytree(home / name, folder / name, copy_function=take)
    take(spark_job_server_jar(), folder / STAGED_JAR)
    seen = Path("/opt/spark")
    jars = [seen / STAGED_JAR, *(seen / "jars" / jar.name for jar in spark_jars())]
    thin_jar(folder / JOB_SERVER_JAR, SPARK_DRIVER, jars)
    return folder
