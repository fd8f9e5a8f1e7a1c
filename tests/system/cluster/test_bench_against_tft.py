"""`fullpass bench PATH --module FILE.py --against tft|tfrecord`: the user's analysis, and the feed of the rows that it makes, both ways."""

import json

import pyarrow as pa
import pyarrow.parquet as pq

from cluster.cli.main import main
from engine import Dataset

MODULE = """
import tensorflow_transform as tft

def preprocessing_fn(inputs):
    words = tft.compute_and_apply_vocabulary(inputs["word"], vocab_filename="words")
    return {"x": tft.scale_to_z_score(inputs["x"]), "word": words}
"""


def test_analysis_beside_tft(tmp_path, capsys):
    rows = {"x": pa.array([float(i % 7) for i in range(300)], pa.float32()), "word": [f"w{i % 11}" for i in range(300)]}
    schema = pa.schema([pa.field("x", pa.float32(), False), pa.field("word", pa.string(), False)])
    pq.write_table(pa.table(rows, schema=schema), tmp_path / "rows.parquet")
    Dataset.open(str(tmp_path / "rows.parquet")).write(str(tmp_path / "records"), "tfrecord", 1)
    (tmp_path / "features.py").write_text(MODULE)
    words = ["bench", str(tmp_path / "records"), "--module", str(tmp_path / "features.py"), "--rounds", "1", "--json"]
    assert main(words) == 2
    assert "--module FILE.py needs --against: tft analyzes" in capsys.readouterr().err
    assert main([*words[:2], "--against", "tft"]) == 2
    assert "--against tft needs --module FILE.py" in capsys.readouterr().err
    assert main([*words, "--against", "last"]) == 2
    assert "it takes tfrecord or tft" in capsys.readouterr().err
    assert main([words[0], str(tmp_path / "rows.parquet"), *words[2:], "--against", "tft"]) == 2
    assert "the data are parquet" in capsys.readouterr().err
    assert main([*words, "--against", "tft"]) == 0
    out = capsys.readouterr().out
    (pair,) = json.loads(out[out.index("[") :])
    assert pair["records"] == 300 and pair["peer"] == "TFT on Beam's DirectRunner"
    assert 0 < pair["ratio"]["least"] <= pair["ratio"]["greatest"] and pair["ours_s"] > 0
    for path in ("rows.parquet", "records"):
        assert main([words[0], str(tmp_path / path), *words[2:], "--against", "tfrecord"]) == 0
        out = capsys.readouterr().out
        (pair,) = json.loads(out[out.index("[") :])
        assert (pair["what"], pair["records"]) == ("training feed", 300) and pair["peer"].startswith(
            "tf.data: TFRecord"
        )
        assert pair["ratio"]["least"] > 0 and pair["peer_s"] > 0
