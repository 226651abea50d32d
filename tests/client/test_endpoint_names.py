"""What an endpoint may be called."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connet_trio.client import DestinationSettings, SourceSettings
from connet_trio.client.endpoint_names import check_endpoint_name, endpoint_name_warnings
from connet_trio.records.model import HostPort

PLACE = HostPort("localhost", 1)


@pytest.mark.parametrize(
    "name",
    ["db", "my db", "a/b.c:d", "..", "-", "'\"\\", "café", "日本語", "نام", "👩‍👩‍👧", "\u00a0x", "x" * 1000, "é" * 500],
)
def test_any_text_that_can_be_read_is_a_name(name: str) -> None:
    check_endpoint_name(name)
    assert DestinationSettings(name=name, target=PLACE).name == name
    assert SourceSettings(name=name, listen=PLACE).name == name


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("", "a name of 0 bytes, expected 1 to 1000"),
        ("x" * 1001, "a name of 1001 bytes, expected 1 to 1000"),
        ("é" * 501, "a name of 1002 bytes, expected 1 to 1000"),
        (" ", "a blank name, expected more than spaces"),
        ("\u3000\u2003\u00a0", "a blank name"),
        ("\u200b\u2060", "a blank name"),
        ("d\x00b", r"the control character U\+0000, expected printable text"),
        ("\x1b[31mdb", r"the control character U\+001B"),
        ("db\n", r"the control character U\+000A"),
        ("\t", r"the control character U\+0009"),
        ("d\x7fb", r"the control character U\+007F"),
        ("d\x9bb", r"the control character U\+009B"),
        ("d\u2028b", r"the control character U\+2028"),
        ("d\ud800", "not Unicode text"),
    ],
)
def test_a_name_that_cannot_be_read_is_refused_in_words(name: str, text: str) -> None:
    with pytest.raises(ValueError, match=text) as caught:
        check_endpoint_name(name)
    assert str(caught.value).isprintable()
    with pytest.raises(ValueError, match=text):
        DestinationSettings(name=name, target=PLACE)
    with pytest.raises(ValueError, match=text):
        SourceSettings(name=name, listen=PLACE)


@given(name=st.text(max_size=50))
def test_every_text_is_allowed_or_refused_with_a_reason_fit_for_a_log(name: str) -> None:
    reason = ""
    try:
        check_endpoint_name(name)
    except ValueError as exc:
        reason = str(exc)
    assert reason.isprintable()
    if not reason:
        assert name.strip()
        assert len(name.encode()) <= 1000
        assert all(warning.isprintable() for warning in endpoint_name_warnings(name))


@pytest.mark.parametrize(
    ("name", "texts"),
    [
        ("café", ()),
        ("my db", ()),
        ("日本語", ()),
        ("cafe\u0301", ("NFC",)),
        ("\u212b", ("NFC",)),  # the ångström sign, which composes to the letter
        (" db", ("begins or ends with a space",)),
        ("db\u00a0", ("begins or ends with a space",)),
        ("d\u200bb", ("U+200B",)),
        ("\ufeffdb", ("U+FEFF",)),
        ("e\u0301\u202e ", ("NFC", "begins or ends", "U+202E")),
    ],
)
def test_what_differs_in_bytes_and_not_to_the_eye_is_warned_of(name: str, texts: tuple[str, ...]) -> None:
    check_endpoint_name(name)
    warnings = endpoint_name_warnings(name)
    assert len(warnings) == len(texts)
    for warning, text in zip(warnings, texts, strict=True):
        assert text in warning
        assert "never meets it" in warning
