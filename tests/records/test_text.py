"""Text from elsewhere on its way to a log or a terminal."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connet_trio.records.text import printable, short_id


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain words, ünïcödé, 日本 and שלום", "plain words, ünïcödé, 日本 and שלום"),
        ("", ""),
        ("two\r\nlines", r"two\r\nlines"),
        ("\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m"),
        ("bell\x07, backspace\x08, nul\x00, delete\x7f", r"bell\x07, backspace\x08, nul\x00, delete\x7f"),
        ("C1 \x9b31m", r"C1 \x9b31m"),
        ("tab\there", r"tab\there"),
        ("line\u2028and\u2029paragraph", r"line\u2028and\u2029paragraph"),
        ("exe.\u202egpj", r"exe.\u202egpj"),
        ("\u2066isolate\u2069 \u200fmark", r"\u2066isolate\u2069 \u200fmark"),
        ("zero\u200bwidth, \ufeffBOM", r"zero\u200bwidth, \ufeffBOM"),
        ("tag\U000e0041", r"tag\U000e0041"),
        ("lone \ud800 surrogate", r"lone \ud800 surrogate"),
    ],
)
def test_what_cannot_be_seen_is_escaped_and_the_rest_left_alone(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_long_text_is_cut_with_an_ellipsis_and_text_that_fits_is_not() -> None:
    assert printable("x" * 200) == "x" * 200
    assert printable("x" * 201) == "x" * 200 + "…"
    assert printable("x" * 1_000_000, limit=5) == "xxxxx…"


def test_escapes_count_against_the_limit() -> None:
    assert printable("\x1b" * 50) == r"\x1b" * 50
    assert printable("\x1b" * 51) == r"\x1b" * 50 + "…"
    assert len(printable("\U000e0041" * 200)) == 201


@given(st.text(st.characters(), max_size=300), st.integers(1, 50))
def test_any_text_becomes_printable_and_is_cut_at_its_limit(text: str, limit: int) -> None:
    shown = printable(text, limit)
    assert shown.isprintable()
    assert len(shown) <= limit + len("…")


def test_a_short_id_is_the_first_eight_characters_and_printable() -> None:
    assert short_id("6f1c2a9e-0000-4000-8000-000000000000") == "6f1c2a9e"
    assert short_id("abc") == "abc"
    assert short_id("\n\x1b[2Jabcdef") == r"\n\x1b[2Jabc"
