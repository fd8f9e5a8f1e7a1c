"""Files of class names are read as TensorFlow's tables read them."""

import pytest
import tensorflow as tf

from trainers.evaluation.passes.labels import read_vocabulary


@pytest.mark.parametrize(
    "names",
    [
        b"a\rb\nc\n",
        b"a\r\nb\r\n",
        b"a\r\r\nb",
        b"a\nb\r",
        b"a\x0bb\nc\x0cd\ne\x1cf\n",
        "a\u2028b\nc\u0085d\n".encode(),
        b"a\0b\nc",
        b"no end",
    ],
)
def test_lines_end_where_those_of_a_table_do(tmp_path, names):
    path = tmp_path / "names"
    path.write_bytes(names)
    whole, number = tf.lookup.TextFileIndex.WHOLE_LINE, tf.lookup.TextFileIndex.LINE_NUMBER
    table = tf.lookup.StaticHashTable(
        tf.lookup.TextFileInitializer(str(path), tf.int64, number, tf.string, whole), default_value=""
    )
    keys, values = table.export()
    expected = [value.decode() for _, value in sorted(zip(keys.numpy().tolist(), values.numpy().tolist()))]
    assert read_vocabulary(tmp_path, str(path), len(expected)) == expected
