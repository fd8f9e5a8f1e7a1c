"""Beam's job servers for Flink and Spark as jars, and the Python worker's `boot`: built from package registries.

Users on the open internet need none of this: Beam fetches its job servers by itself. Here they are shaded out of the
libraries that Maven Central serves.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

from tests.support.servers.tools import cache_dir, locked, require, run

__all__ = ["BEAM_VERSION", "flink_job_server_jar", "spark_job_server_jar", "thin_jar", "worker_boot"]

BEAM_VERSION = "2.62.0"  # newer ones have no job service on Maven Central; Python's 2.77 works with it
BOOT_VERSION = "2.77.0"

_POM = """<?xml version="1.0" encoding="UTF-8"?>
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>fullpass.tests</groupId>
  <artifactId>{name}</artifactId>
  <version>1</version>
  <properties><project.build.sourceEncoding>UTF-8</project.build.sourceEncoding></properties>
  <dependencies>
    <dependency><groupId>org.apache.beam</groupId><artifactId>{artifact}</artifactId><version>{version}</version></dependency>
    {more}
  </dependencies>
  <build><plugins><plugin>
    <groupId>org.apache.maven.plugins</groupId><artifactId>maven-shade-plugin</artifactId><version>3.6.0</version>
    <executions><execution><phase>package</phase><goals><goal>shade</goal></goals><configuration>
      <createDependencyReducedPom>false</createDependencyReducedPom>
      <artifactSet><excludes>{excludes}</excludes></artifactSet>
      <filters><filter><artifact>*:*</artifact><excludes>
        <exclude>META-INF/*.SF</exclude><exclude>META-INF/*.DSA</exclude><exclude>META-INF/*.RSA</exclude>
        <exclude>module-info.class</exclude><exclude>META-INF/versions/*/module-info.class</exclude>
      </excludes></filter></filters>
      <relocations>{relocations}</relocations>
      <transformers>
        <transformer implementation="org.apache.maven.plugins.shade.resource.ServicesResourceTransformer"/>
        <transformer implementation="org.apache.maven.plugins.shade.resource.AppendingTransformer">
          <resource>reference.conf</resource>
        </transformer>
        <transformer implementation="org.apache.maven.plugins.shade.resource.ManifestResourceTransformer">
          <mainClass>{main}</mainClass>
        </transformer>
      </transformers>
    </configuration></execution></executions>
  </plugin></plugins></build>
</project>
"""


def _shaded(name: str, artifact: str, main: str, *, exclude: Sequence[str] = (), relocate: Sequence[str] = ()) -> Path:
    jar = cache_dir() / f"{name}-{BEAM_VERSION}.jar"
    with locked("maven"):
        if jar.exists():
            return jar
        maven = require("mvn")
        require("java")
        relocations = "".join(
            f"<relocation><pattern>{p}</pattern><shadedPattern>fullpass.shaded.{p}</shadedPattern></relocation>"
            for p in relocate
        )
        with tempfile.TemporaryDirectory(prefix="fullpass-maven-") as directory:
            pom = _POM.format(
                name=name,
                artifact=artifact,
                version=BEAM_VERSION,
                main=main,
                more="",
                excludes="".join(f"<exclude>{each}</exclude>" for each in exclude),
                relocations=relocations,
            )
            (Path(directory) / "pom.xml").write_text(pom)
            repository = cache_dir() / "maven"
            run([maven, "-q", "-B", f"-Dmaven.repo.local={repository}", "package"], cwd=directory, timeout_s=1200)
            partial = jar.with_suffix(".part")
            shutil.copyfile(Path(directory) / "target" / f"{name}-1.jar", partial)
            os.replace(partial, jar)
    return jar


def flink_job_server_jar() -> Path:
    """Returns the job server for Flink 1.19, with all that it needs inside."""
    return _shaded(
        "beam-flink-job-server", "beam-runners-flink-1.19", "org.apache.beam.runners.flink.FlinkJobServerDriver"
    )


def spark_job_server_jar() -> Path:
    """Returns the job server for Spark 3, without Spark itself."""
    return _shaded(
        "beam-spark-job-server",
        "beam-runners-spark-3",
        "org.apache.beam.runners.spark.SparkJobServerDriver",
        exclude=["org.slf4j:*"],
        relocate=["com.google.common", "com.google.protobuf"],
    )


def thin_jar(path: Path, main: str, class_path: Sequence[Path]) -> Path:
    """Returns `path` after writing a jar there that is nothing but a class path, in that order."""
    lines = [
        "Manifest-Version: 1.0",
        f"Main-Class: {main}",
        "Add-Opens: java.base/sun.nio.ch java.base/java.nio java.base/java.util java.base/java.lang "
        "java.base/java.lang.invoke java.base/java.net java.base/java.util.concurrent",
        "Class-Path: " + " ".join(each.as_uri() for each in class_path),
    ]
    folded = []
    for line in lines:  # a line of a manifest has at most 72 bytes; the next begins with a space
        folded.append(line[:70])
        folded += [f" {line[at : at + 69]}" for at in range(70, len(line), 69)]
    with zipfile.ZipFile(path, "w") as jar:
        jar.writestr("META-INF/MANIFEST.MF", "\r\n".join(folded) + "\r\n\r\n")
    return path


def worker_boot() -> Path:
    """Returns the program that starts Beam's Python worker in a process environment."""
    boot = cache_dir() / f"boot-{BOOT_VERSION}"
    with locked("go"):
        if not boot.exists():
            go = require("go")
            with tempfile.TemporaryDirectory(prefix="fullpass-go-") as directory:
                environment = {
                    **os.environ,
                    "GOBIN": directory,
                    "GOPATH": str(cache_dir() / "go"),
                    "GOFLAGS": "-modcacherw -buildvcs=false",
                }
                module = f"github.com/apache/beam/sdks/v2/python/container@v{BOOT_VERSION}"
                run([go, "install", module], env=environment, cwd=directory, timeout_s=1200)
                shutil.copy(Path(directory) / "container", boot.with_suffix(".part"))
            os.replace(boot.with_suffix(".part"), boot)
    return boot
