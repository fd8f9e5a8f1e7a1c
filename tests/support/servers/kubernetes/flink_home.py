"""A Flink distribution as its image has it at /opt/flink, as far as k8s/flink uses it, from PyPI's jars."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from tests.support.servers.beam_jars import flink_job_server_jar
from tests.support.servers.flink import FLINK_VERSION
from tests.support.servers.tools import virtual_environment

__all__ = ["JOB_SERVER_JAR", "make_flink_home", "take"]

JOB_SERVER_JAR = "beam-flink-job-server.jar"

# As Flink's own scripts do: Java's options come out of the configuration, memory is computed by Flink.
_COMMON = """\
#!/bin/sh
[ "$1" = start-foreground ] || exit 64
shift
lib=/opt/flink/lib
opens=$(sed -n '/^env.java.opts.all:/,/^[^ e]/p' "$FLINK_CONF_DIR/config.yaml" | grep -o -e '--add-[^ ]*')
log=-Dlog4j.configurationFile=$FLINK_CONF_DIR/log4j-console.properties
"""
_JOB_MANAGER = """\
main=org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint
exec java -Xmx1g $opens $log -cp "$lib/*" $main --configDir "$FLINK_CONF_DIR" --executionMode cluster "$@"
"""
_TASK_MANAGER = """\
tool=org.apache.flink.runtime.util.bash.BashJavaUtils
java -cp "$lib/*:/opt/flink/bin/bash-java-utils.jar" $tool GET_TM_RESOURCE_PARAMS --configDir "$FLINK_CONF_DIR" "$@" |
    sed -n 's/^BASH_JAVA_UTILS_EXEC_RESULT://p' > /tmp/memory
jvm=$(sed -n 1p /tmp/memory) dynamic=$(sed -n 2p /tmp/memory)
main=org.apache.flink.runtime.taskexecutor.TaskManagerRunner
exec java $jvm $opens $log -cp "$lib/*" $main --configDir "$FLINK_CONF_DIR" $dynamic "$@"
"""


def take(source: str | Path, target: str | Path) -> None:
    """Links the file, or copies it where it is on another file system."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def make_flink_home(folder: Path) -> Path:
    """Writes the distribution into a folder, with Beam's job server beside it, and returns the folder.

    Nothing in it points elsewhere: pods see the folder, and need not see where its files came from.
    """
    home = virtual_environment(f"flink-{FLINK_VERSION}", f"apache-flink-libraries=={FLINK_VERSION}") / "pyflink"
    (folder / "bin").mkdir(parents=True)
    shutil.copytree(home / "lib", folder / "lib", copy_function=take)
    take(home / "bin" / "bash-java-utils.jar", folder / "bin" / "bash-java-utils.jar")
    take(flink_job_server_jar(), folder / JOB_SERVER_JAR)
    for name, text in (("jobmanager.sh", _JOB_MANAGER), ("taskmanager.sh", _TASK_MANAGER)):
        (folder / "bin" / name).write_text(_COMMON + text)
        (folder / "bin" / name).chmod(0o755)
    return folder
