"""`fullpass submit`: flags become the description that Python would build."""

from __future__ import annotations

import os

import pytest
import yaml

from cluster import JobSpec, Resources, SecretEnv, Toleration, Volume
from cluster.cli.main import main, parse_words
from cluster.cli.submit_flags import spec_from_args
from engine import ConfigError


def spec(*words: str) -> JobSpec:
    _, args = parse_words(["submit", *words])
    return spec_from_args(args)


def test_flags_say_everything(tmp_path):
    module = tmp_path / "clicks.py"
    module.write_text("x = 1\n")
    words = "--name clicks --step train --workers 4 --ps 2 --chief --global-batch-size 1000 --image r/f:1 --cpu 4"
    words += " --memory 16Gi --gpu 1 --env A=b=c --secret T=store:key --volume claim=data:/data:ro --volume memory=1Gi:/cache"
    words += f" --file {module} --node-selector pool=big --toleration spot=true:NoSchedule --queue team --timeout 60"
    words += " --max-restarts 1 --label team=ads -- --module /fullpass/files/clicks.py --epochs 2"
    assert spec(*words.split()) == JobSpec(
        name="clicks",
        step="train",
        args=("--module", "/fullpass/files/clicks.py", "--epochs", "2"),
        roles={"worker": 4, "ps": 2, "chief": 1},
        global_batch_size=1000,
        image="r/f:1",
        resources=Resources(cpu="4", memory="16Gi", gpu=1),
        env={"A": "b=c"},
        secrets=(SecretEnv(name="T", secret="store", key="key"),),
        volumes=(
            Volume(mount_path="/data", claim="data", read_only=True),
            Volume(mount_path="/cache", empty_dir=True, medium="Memory", size="1Gi"),
        ),
        files={"clicks.py": "x = 1\n"},
        node_selector={"pool": "big"},
        tolerations=(Toleration(key="spot", operator="Equal", value="true", effect="NoSchedule"),),
        queue="team",
        timeout_s=60,
        max_restarts=1,
        labels={"team": "ads"},
    )


def test_flags_go_before_the_file(tmp_path):
    path = tmp_path / "job.yaml"
    path.write_text(
        yaml.safe_dump({"name": "a", "step": "train", "env": {"A": "1", "B": "2"}, "resources": {"cpu": "2"}})
    )
    built = spec("--spec", str(path), "--name", "b", "--env", "A=3", "--memory", "4Gi")
    assert built == JobSpec(
        name="b", step="train", env={"A": "3", "B": "2"}, resources=Resources(cpu="2", memory="4Gi")
    )
    assert spec("--spec", str(path), "--pipeline", "p.toml").step is None
    assert spec("--spec", str(path), "--command", "--", "true").command == ("true",)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--step train", "--name is missing"),
        ("--name a --command", "--command needs the program"),
        ("--name a --step train --env A", "--env: expected NAME=VALUE"),
        ("--name a --step train --volume data:/data", "SOURCE is claim=NAME"),
        ("--name a --step train --volume claim=data", "expected SOURCE:PATH"),
        ("--name a --step train --secret A=b", "expected NAME:VALUE"),
        ("--name a --step train --workers 3 --global-batch-size 10", "the nearest are 9 and 12"),
        ("--name A --step train", "a letter first"),
    ],
)
def test_wrong_flags_say_what_was_expected(words, said):
    with pytest.raises(ConfigError) as error:
        spec(*words.split())
    assert said in str(error.value)


def test_words_that_the_step_would_not_take_are_refused_before_anything_is_sent(capsys):
    base = ["submit", "--name", "a", "--launcher", "kubernetes", "--dry-run", "--step"]
    with pytest.raises(SystemExit, match="2"):
        main([*base, "train", "--", "data", "--module", "m.py", "--lable", "late"])
    assert "usage: fullpass train" in capsys.readouterr().err
    assert main([*base, "trian", "--", "data"]) == 2
    assert "--step 'trian' is not a fullpass command; choose from run, ingest" in capsys.readouterr().err
    words = ["data", "--module", "m.py", "--label", "late", "--out", "o", "--steps", "1"]
    assert main([*base, "train", "--", *words]) == 0
    assert "kind: Job" in capsys.readouterr().out


@pytest.mark.parametrize("launcher", ["kubernetes", "local", "ray"])
def test_a_dry_run_shows_no_secret_of_env_and_says_so(capsys, launcher):
    words = ["submit", "--name", "a", "--launcher", launcher, "--dry-run", "--command"]
    for pair in ("HF_TOKEN=hush-1", "AWS_SECRET_ACCESS_KEY=hush-2", "MODE=fast", "STORE=s3://me:hush-3@bucket/x"):
        words += ["--env", pair]
    words += ["--", "program", "https://host/x?sig=hush-4-signature"]
    assert main(words) == 0
    said = capsys.readouterr()
    assert "hush" not in said.out + said.err and "fast" in said.out and "s3://***@bucket/x" in said.out
    assert "not shown: HF_TOKEN, AWS_SECRET_ACCESS_KEY, credentials in URIs" in said.err
    assert main([*words[:2], "a", "--show-secrets", *words[3:]]) == 0
    shown = capsys.readouterr()
    assert all(f"hush-{number}" in shown.out for number in range(1, 5)) and "not shown" not in shown.err


def test_a_dry_run_without_secrets_is_what_would_be_created(capsys):
    words = ["submit", "--name", "a", "--launcher", "kubernetes", "--dry-run", "--command", "--env", "MONKEY=1"]
    words += ["--env", "KEYBOARD=us", "--", "true"]
    assert main(words) == 0
    said = capsys.readouterr()
    container = next(d for d in yaml.safe_load_all(said.out) if d["kind"] == "Job")["spec"]["template"]["spec"][
        "containers"
    ][0]
    assert {"name": "MONKEY", "value": "1"} in container["env"] and {"name": "KEYBOARD", "value": "us"} in container[
        "env"
    ]
    assert "not shown" not in said.err


def test_yaml_that_merges_what_was_merged_is_read(tmp_path):
    path = tmp_path / "job.yaml"
    text = (
        "name: a\nstep: train\nenv: &base {zone: '1'}\nlabels: &more\n  <<: *base\n  zone: '2'\n"
        "annotations:\n  <<: *more\n  c: '3'\n"
    )
    path.write_text(text)
    built = spec("--spec", str(path))
    assert (built.env, built.labels, built.annotations) == ({"zone": "1"}, {"zone": "2"}, {"zone": "2", "c": "3"})
    for twice in (f"{text}  c: '4'\n", f"{text}name: b\n", "a: [{b: 1, b: 2}]\n"):
        path.write_text(twice)
        with pytest.raises(ConfigError, match="is given twice, the second time in line"):
            spec("--spec", str(path))


def test_records_of_a_local_job_are_its_owners_alone(tmp_path, monkeypatch):
    from cluster.launchers import launcher
    from cluster.launchers.state import remember, state_directory

    monkeypatch.setenv("FULLPASS_STATE_DIR", str(tmp_path / "state"))
    before = os.umask(0)  # the friendliest that a user may have set
    try:
        place = launcher("local", directory=str(tmp_path / "jobs"))
        job = JobSpec(name="a", command=("sh", "-c", "echo hello"), env={"TOKEN": "hush"}, files={"f.py": "x = 1"})
        place.submit(job).wait(timeout_s=60)
        remember("a", "local", {"directory": "x"})
    finally:
        os.umask(before)
    folder = next((tmp_path / "jobs").iterdir())
    found = {p.relative_to(folder).as_posix(): p.stat().st_mode & 0o777 for p in folder.rglob("*") if p.is_file()}
    assert {"job.json", "status.json", "runner", "runner.log", "files/f.py", "logs/worker-0.log"} <= set(found)
    assert set(found.values()) == {0o600}, found
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {p.stat().st_mode & 0o777 for p in state_directory().rglob("*") if p.is_file()} == {0o600}
