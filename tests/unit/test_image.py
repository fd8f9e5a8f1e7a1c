"""The image's recipe installs nothing that is not pinned by hash, in the versions that the tests ran with."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

K8S = Path(__file__).parents[2] / "k8s"


def locked(name: str) -> dict[str, tuple[str, int]]:
    """Returns distribution → (version, number of hashes)."""
    text = (K8S / name).read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    found = {}
    for line in lines:
        name, version = re.match(r"([\w.-]+)(?:\[[\w,-]+\])?==([\w.+!-]+)", line).groups()  # type: ignore[union-attr]
        found[name.lower()] = (version, len(re.findall(r"--hash=sha256:[0-9a-f]{64}\b", line)))
    return found


@pytest.mark.parametrize("name", ["requirements.txt", "build-requirements.txt"])
def test_every_distribution_of_the_image_has_a_hash(name):
    found = locked(name)
    assert found and all(hashes for _, hashes in found.values())
    if name == "requirements.txt":
        assert {"tensorflow", "pyarrow", "apache-beam", "kubernetes"} <= set(found)


def test_the_image_has_the_versions_that_the_tests_ran_with():
    lines = (K8S / "constraints.txt").read_text().splitlines()
    known = {n.lower(): v for n, v in (line.split("==") for line in lines if "==" in line and not line.startswith("#"))}
    differing = {n: (v, known[n]) for n, (v, _) in locked("requirements.txt").items() if n in known and known[n] != v}
    assert not differing


def test_the_image_has_what_the_manifests_run_in_it():
    extras = re.search(r"k8s/Dockerfile \(([\w,]+)\)", (K8S / "requirements.txt").read_text())
    assert extras is not None and f"EXTRAS ?= {extras[1]}\n" in (K8S.parent / "Makefile").read_text()
    assert "serve" in (K8S / "serving/base/deployment.yaml").read_text() and "serve" in extras[1].split(",")
    assert {"tensorflow-serving-api", "uvicorn", "starlette", "grpcio-health-checking"} <= set(
        locked("requirements.txt")
    )


def test_dockerfile_installs_by_hash_alone_and_runs_as_nobody():
    recipe = (K8S / "Dockerfile").read_text().replace("\\\n", " ")
    for command in re.findall(r"pip install[^&\n]*", recipe):
        assert "--require-hashes" in command or "--no-deps" in command, command
    assert re.search(r"^USER 10001:10001$", recipe, re.M)
    ignored = (K8S / "Dockerfile.dockerignore").read_text()
    copied = set(re.findall(r"^COPY (?!--from)(.*) \S+$", recipe, re.M))
    for name in (word for line in copied for word in line.split()):
        assert f"!{name}" in ignored, f"{name} never reaches the build"


def test_base_of_both_stages_is_an_argument_that_takes_a_digest():
    recipe = (K8S / "Dockerfile").read_text()
    before, _, after = recipe.partition("FROM ")
    assert re.search(r"^ARG BASE=python:[\w.-]+$", before, re.M), "declared before the first stage, or no stage sees it"
    assert re.findall(r"^FROM (\S+)", f"FROM {after}", re.M) == ["${BASE}", "${BASE}"]
    said = (K8S.parent / "docs" / "security.md").read_text()
    for text in (recipe, said):
        assert "--build-arg BASE=python@sha256:" in text


def test_audit_takes_packages_that_nobody_could_look_up_for_no_clean_bill():
    (words,) = re.findall(r"^run .* pip-audit (.*)$", (K8S.parent / ".ci" / "audit").read_text(), re.M)
    assert "--strict" in words.split()
