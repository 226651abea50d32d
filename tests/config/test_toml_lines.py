"""On which line each key is, and where a text stops being TOML."""

from pathlib import Path

import pytest
import tomlkit

from connet_trio.config.document import read_document
from connet_trio.config.findings import Findings, Keys
from connet_trio.config.toml_lines import key_lines
from connet_trio.errors import ConfigError

TEXT = '''# a comment with [brackets] and "quotes"

log-level = "info"
[client]  # and one
token = """
[not.a.table]
key = 1
"""
relay-encryptions = [
    "tls",  # ]
    "none",
]
[client.sources]
db.url = "x"
"my db" = { url = "y", route = "any" }

[[server.ingress]]
addr = 1
[server.ingress.more]
x = 1
[other]
[[server.ingress]]
deny = [{ a = 1 },
        { a = 2 }]
[a.b.c]
'''


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize(
    ("keys", "line"),
    [
        (("log-level",), 3),
        (("client",), 4),
        (("client", "token"), 5),
        (("client", "relay-encryptions"), 9),
        (("client", "sources"), 13),
        (("client", "sources", "db"), 14),
        (("client", "sources", "db", "url"), 14),
        (("client", "sources", "my db", "route"), 15),
        (("server",), 17),
        (("server", "ingress"), 17),
        (("server", "ingress", 0), 17),
        (("server", "ingress", 0, "addr"), 18),
        (("server", "ingress", 0, "more", "x"), 20),
        (("server", "ingress", 1), 22),
        (("server", "ingress", 1, "deny", 1, "a"), 23),
        (("a", "b"), 25),
    ],
)
def test_every_key_has_its_line(keys: Keys, line: int, newline: str) -> None:
    assert key_lines(TEXT.replace("\n", newline))[keys] == line


def test_a_long_list_is_not_parsed_again_for_each_of_its_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[str] = []
    parse = tomlkit.parse

    def record(text: str) -> tomlkit.TOMLDocument:
        parsed.append(text)
        return parse(text)

    monkeypatch.setattr(tomlkit, "parse", record)
    key_lines("tokens = [\n" + '"x",\n' * 1000 + "]\nnext = 1\n")
    assert len(parsed) == 3


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("a = 1\nb = 2\na = 3\n", "x.toml:3: is not TOML: a is set twice, first on line 1"),
        ('[x]\na = 1\nb = """\n"""\na = 2\n', "x.toml:5: is not TOML: x.a is set twice, first on line 2"),
        ("[x]\n[y]\n[x]\n", "x.toml:3: is not TOML: x is set twice, first on line 1"),
        ("[x]\na.b = 1\n[x.a]\n", "x.toml:3: is not TOML: x.a is set twice, first on line 2"),
        ("\nx = { a = 1, a = 2 }\n", "x.toml:2: is not TOML: a key is set twice"),
        ("[x]\ntoken s3cr3t\n", "x.toml:2: is not TOML: neither a [table] nor a key = value"),
        ('[x]\ntoken = "s3cr3t\n', "x.toml:2: is not TOML: control characters"),
        ("[x]\ntoken = s3cr3t\n", "x.toml:2: is not TOML: unexpected character: 's'"),
        ('[x]\ntoken = "s3cr3t" y\n', "x.toml:2: is not TOML: unexpected character: 'y'"),
        ("[x]\na = [1,\n", "x.toml:2: is not TOML: it ends in the middle of a value"),
        (b"a = '\xff'", "x.toml: is not UTF-8 text (byte 5)"),
    ],
)
def test_what_is_no_toml_is_told_with_its_line_and_without_its_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | bytes, error: str
) -> None:
    monkeypatch.chdir(tmp_path)
    file = Path("x.toml")
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    findings = Findings()
    assert read_document(file, findings) is None
    with pytest.raises(ConfigError) as caught:
        findings.raise_errors()
    assert str(caught.value).startswith(error)
    assert "s3cr3t" not in str(caught.value)


def test_a_byte_order_mark_is_passed_over(tmp_path: Path) -> None:
    file = tmp_path / "x.toml"
    file.write_bytes(b"\xef\xbb\xbflog-level = 'info'\n")
    document = read_document(file, Findings())
    assert document is not None
    assert document.table["log-level"].value == "info"
