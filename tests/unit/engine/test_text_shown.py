"""Text of data is shown as it is, but for characters that hide, or turn what stands beside them."""

import unicodedata

import pytest

from engine.core.text_encoding import one_line, visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\u202eb", r"a\u202eb"),
        ("AA\U000e0041\U000e007f", r"AA\U000e0041\U000e007f"),  # tags: a text within the text
        ("x\u2063y\u206ez\ufff9", r"x\u2063y\u206ez\ufff9"),
        ("\u3164", r"\u3164"),  # a letter without a shape
        ("نامه\u200cای", "نامه\u200cای"),  # joins letters, as Persian is written
        ("👩\u200d🚀 é \U0001f600", "👩\u200d🚀 é \U0001f600"),
    ],
)
def test_what_is_not_seen_is_a_code_point(text, shown):
    assert visible(text) == one_line(text) == shown


def test_all_format_characters_but_those_of_writing_are_shown():
    writing = (
        "ARABIC",
        "SYRIAC",
        "KAITHI",
        "EGYPTIAN",
        "SHORTHAND",
        "MUSICAL",
        "ZERO WIDTH NON-JOINER",
        "ZERO WIDTH JOINER",
    )
    for code in range(0x110000):
        if unicodedata.category(chr(code)) == "Cf" and not unicodedata.name(chr(code), "").startswith(writing):
            assert visible(chr(code)).startswith("\\"), hex(code)
    assert visible("\u061c") == r"\u061c"  # Arabic, too, but it turns
