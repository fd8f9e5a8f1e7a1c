"""A standalone Flink 1.19 cluster on the loopback interface: one JobManager, one TaskManager with some slots."""

from __future__ import annotations

import json
import shutil
import stat
import subprocess
import sys
import urllib.request
from pathlib import Path

from tests.support.servers.beam_jars import flink_job_server_jar, worker_boot
from tests.support.servers.tools import Server, free_port, require, virtual_environment, wait_until

__all__ = ["FLINK_VERSION", "FlinkCluster", "worker_script"]

FLINK_VERSION = "1.19.3"
_OPENS = ("java.lang", "java.net", "java.io", "java.nio", "java.util", "java.util.concurrent", "java.time")
_JAVA_OPTIONS = [f"--add-opens=java.base/{each}=ALL-UNNAMED" for each in _OPENS] + [
    "--add-exports=java.base/sun.net.util=ALL-UNNAMED"
]


def worker_script(directory: Path) -> Path:
    """Returns a program that starts Beam's Python worker with this interpreter's environment.

    Args:
        directory: for the program and what it stages.
    """
    path = directory / "worker"
    path.write_text(
        "#!/bin/sh\n"
        f'PATH="{Path(sys.executable).parent}:$PATH"\n'
        "export PATH RUN_PYTHON_SDK_IN_DEFAULT_ENVIRONMENT=1 TF_CPP_MIN_LOG_LEVEL=2\n"
        "unset PYTHONDONTWRITEBYTECODE\n"
        f'staged=$(mktemp -d "{directory}/staged-XXXXXX")\n'
        f'exec "{worker_boot()}" --semi_persist_dir="$staged" "$@"\n'
    )
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


class FlinkCluster:
    """A running cluster; `stop` ends it.

    Args:
        directory: empty, for configuration, logs and temporary files.
        slots: task slots of the TaskManager.
    """

    def __init__(self, directory: Path, slots: int = 2) -> None:
        self.directory, self.slots = directory, slots
        self.jar = flink_job_server_jar()
        self.rest_port = free_port()
        java = require("java")
        home = virtual_environment(f"flink-{FLINK_VERSION}", f"apache-flink-libraries=={FLINK_VERSION}") / "pyflink"
        # Beam's jar on the cluster's own class path: its worker environments then outlive a task.
        jars = [*sorted((home / "lib").glob("*.jar")), self.jar]
        class_path = ":".join(str(jar) for jar in jars)
        conf = directory / "conf"
        conf.mkdir()
        (conf / "config.yaml").write_text(self._config())
        (conf / "log4j.properties").write_text(
            "rootLogger.level = INFO\nrootLogger.appenderRef.out.ref = out\nappender.out.name = out\n"
            "appender.out.type = CONSOLE\nappender.out.layout.type = PatternLayout\n"
            "appender.out.layout.pattern = %d %-5p %c{1} - %m%n\n"
        )
        common = [*_JAVA_OPTIONS, f"-Dlog4j.configurationFile={conf / 'log4j.properties'}", "-cp", class_path]
        options = self._task_manager_options(java, home, conf)
        env: dict[str, str | None] = {"FLINK_CONF_DIR": str(conf), "PYTHONDONTWRITEBYTECODE": None}
        entry = "org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint"
        arguments = ["--configDir", str(conf), "--executionMode", "cluster"]
        self.job_manager = Server("flink-jobmanager", [java, "-Xmx1g", *common, entry, *arguments], directory, env)
        runner = "org.apache.flink.runtime.taskexecutor.TaskManagerRunner"
        self.task_manager = Server(
            "flink-taskmanager",
            [java, *options[0], *common, runner, "--configDir", str(conf), *options[1]],
            directory,
            env,
        )
        try:
            wait_until(
                lambda: self.rest("/overview").get("slots-total") == slots,
                "the Flink cluster",
                240,
                [self.job_manager, self.task_manager],
            )
        except BaseException:
            self.stop()
            raise

    def _config(self) -> str:
        temporary = self.directory / "tmp"
        temporary.mkdir()
        return "\n".join(
            [
                "jobmanager.rpc.address: 127.0.0.1",
                f"jobmanager.rpc.port: {free_port()}",
                "jobmanager.bind-host: 127.0.0.1",
                "jobmanager.memory.process.size: 1600m",
                "taskmanager.bind-host: 127.0.0.1",
                "taskmanager.host: 127.0.0.1",
                f"taskmanager.numberOfTaskSlots: {self.slots}",
                "taskmanager.memory.process.size: 3072m",
                # Flink's default is too little for the tasks of a Beam pipeline.
                "taskmanager.memory.network.min: 512m",
                "taskmanager.memory.network.max: 512m",
                "rest.address: 127.0.0.1",
                "rest.bind-address: 127.0.0.1",
                f"rest.port: {self.rest_port}",
                f"parallelism.default: {self.slots}",
                "classloader.resolve-order: parent-first",
                f"io.tmp.dirs: {temporary}",
                "blob.server.port: 0",
                "execution.batch-shuffle-mode: ALL_EXCHANGES_PIPELINED",
                "",
            ]
        )

    def _task_manager_options(self, java: str, home: Path, conf: Path) -> tuple[list[str], list[str]]:
        tools = ":".join(str(jar) for jar in [*(home / "lib").glob("*.jar"), home / "bin" / "bash-java-utils.jar"])
        tool = "org.apache.flink.runtime.util.bash.BashJavaUtils"
        done = subprocess.run(
            [java, "-cp", tools, tool, "GET_TM_RESOURCE_PARAMS", "--configDir", str(conf)],
            capture_output=True,
            text=True,
            timeout=120,
        )
        mark = "BASH_JAVA_UTILS_EXEC_RESULT:"
        lines = [line[len(mark) :] for line in done.stdout.splitlines() if line.startswith(mark)]
        if len(lines) != 2:
            raise RuntimeError(f"Flink's BashJavaUtils printed no memory options:\n{done.stdout}\n{done.stderr}")
        return lines[0].split(), lines[1].split()

    def rest(self, path: str) -> dict:
        """Returns an answer of Flink's REST interface."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.rest_port}{path}", timeout=10) as answer:
            return json.load(answer)

    def options(self) -> list[str]:
        """Returns Beam's options for this cluster."""
        script = self.directory / "worker"
        if not script.exists():
            worker_script(self.directory)
        return [
            f"--flink_master=127.0.0.1:{self.rest_port}",
            f"--flink_job_server_jar={self.jar}",
            f"--parallelism={self.slots}",
            "--environment_type=PROCESS",
            "--environment_config=" + json.dumps({"command": str(script)}),
        ]

    def stop(self) -> None:
        """Ends the cluster and deletes its temporary files."""
        for server in (self.task_manager, self.job_manager):
            server.stop()
        shutil.rmtree(self.directory / "tmp", ignore_errors=True)
