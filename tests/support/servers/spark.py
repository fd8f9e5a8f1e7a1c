"""A standalone Spark 3.5 cluster on the loopback interface: a master, a worker with some cores, a Beam worker pool."""

from __future__ import annotations

import json
import os
import sys
import urllib.request
from pathlib import Path

from tests.support.servers.beam_jars import spark_job_server_jar, thin_jar
from tests.support.servers.tools import Server, free_port, require, virtual_environment, wait_until

__all__ = ["SPARK_DRIVER", "SPARK_VERSION", "SparkCluster", "embedded_spark_jar", "pyspark_home", "spark_jars"]

SPARK_VERSION = "3.5.9"
SPARK_DRIVER = "org.apache.beam.runners.spark.SparkJobServerDriver"
_OPENS = (
    "java.lang",
    "java.lang.invoke",
    "java.net",
    "java.io",
    "java.nio",
    "java.util",
    "java.util.concurrent",
    "sun.nio.ch",
)
_JAVA_OPTIONS = [f"--add-opens=java.base/{each}=ALL-UNNAMED" for each in _OPENS]


def pyspark_home() -> Path:
    """Returns the folder of PyPI's pyspark, installed where it is missing."""
    return virtual_environment(f"spark-{SPARK_VERSION}", f"pyspark=={SPARK_VERSION}") / "pyspark"


def spark_jars() -> list[Path]:
    """Returns Spark's jars, but for the Guava that Beam's is too new for."""
    return [jar for jar in sorted((pyspark_home() / "jars").glob("*.jar")) if not jar.name.startswith("guava-14")]


def embedded_spark_jar(directory: Path) -> Path:
    """Returns a job server jar with Spark itself on its class path.

    Args:
        directory: where the jar (a class path, nothing else) is written.
    """
    return thin_jar(directory / "spark-job-server.jar", SPARK_DRIVER, [spark_job_server_jar(), *spark_jars()])


class SparkCluster:
    """A running cluster; `stop` ends it.

    Args:
        directory: empty, for logs and temporary files.
        cores: of the worker.
    """

    def __init__(self, directory: Path, cores: int = 2) -> None:
        self.directory, self.cores = directory, cores
        self.jar = embedded_spark_jar(directory)
        self.port, self.web_port, self.pool_port = free_port(), free_port(), free_port()
        java, home = require("java"), pyspark_home()
        env: dict[str, str | None] = {
            "SPARK_HOME": str(home),
            "SPARK_SCALA_VERSION": "2.12",
            "SPARK_LOCAL_IP": "127.0.0.1",
            "SPARK_PUBLIC_DNS": "127.0.0.1",
            "SPARK_LOCAL_DIRS": str(directory),
            "PYTHONDONTWRITEBYTECODE": None,
        }
        base = [java, "-Xmx1g", *_JAVA_OPTIONS, "-cp", f"{home / 'jars'}/*"]
        master = ["org.apache.spark.deploy.master.Master", "--host", "127.0.0.1", "--port", str(self.port)]
        worker = ["org.apache.spark.deploy.worker.Worker", "--host", "127.0.0.1", "--cores", str(cores)]
        worker += ["--memory", "3g", "--webui-port", str(free_port()), "--work-dir", str(directory / "work")]
        self.servers = [
            Server(
                "spark-master",
                [*base, *master, "--webui-port", str(self.web_port)],
                directory,
                env,
            )
        ]
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        try:
            wait_until(lambda: self.rest("/json/")["status"] == "ALIVE", "Spark's master", 240, self.servers)
            self.servers.append(
                Server(
                    "spark-worker",
                    [*base, *worker, f"spark://127.0.0.1:{self.port}"],
                    directory,
                    env,
                )
            )
            # Beam's pool starts the bare word `python`: it must be the one of this environment.
            pool = [sys.executable, "-m", "apache_beam.runners.worker.worker_pool_main"]
            pool += [f"--service_port={self.pool_port}"]
            self.pool = Server(
                "beam-pool", pool, directory, {"PATH": path, "TF_CPP_MIN_LOG_LEVEL": "2", **_NO_BYTECODE_SWITCH}
            )
            self.servers.append(self.pool)
            wait_until(lambda: self.rest("/json/")["cores"] == cores, "Spark's worker", 240, self.servers)
        except BaseException:
            self.stop()
            raise

    def rest(self, path: str) -> dict:
        """Returns an answer of the master's web interface."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.web_port}{path}", timeout=10) as answer:
            return json.load(answer)

    def options(self) -> list[str]:
        """Returns Beam's options for this cluster."""
        return [
            f"--spark_master_url=spark://127.0.0.1:{self.port}",
            f"--spark_job_server_jar={self.jar}",
            f"--files_to_stage={spark_job_server_jar()}",
            "--environment_type=EXTERNAL",
            f"--environment_config=127.0.0.1:{self.pool_port}",
            f"--parallelism={self.cores}",
        ]

    def stop(self) -> None:
        """Ends the cluster."""
        for server in reversed(self.servers):
            server.stop()


_NO_BYTECODE_SWITCH: dict[str, str | None] = {"PYTHONDONTWRITEBYTECODE": None}
