"""Descriptors made of records."""

import enum
import os
import subprocess
import sys

import attrs
import pytest
from google.protobuf import descriptor_pool

from connet_trio.errors import LocalProtocolError, RemoteProtocolError
from connet_trio.records.model import numbered
from connet_trio.wire.converter import make_converter
from connet_trio.wire.protobuf import MessagePool


class Colour(enum.IntEnum):
    NONE = 0
    RED = 1


class Shade(enum.IntEnum):
    NONE = 0
    DARK = 7


@attrs.frozen
class Stroke:
    colour: Colour = numbered(1, default=Colour.NONE)
    shade: Shade | int = numbered(2, default=Shade.NONE)


@attrs.frozen
class Drawing:
    title: str = numbered(1, default="")
    first: Stroke | None = numbered(3, default=None)
    last: Stroke | None = numbered(4, default=None)
    strokes: tuple[Stroke, ...] = numbered(1000, default=())
    sizes: tuple[int, ...] = numbered(1001, default=())
    titles: tuple[str, ...] = numbered(1002, default=())


@attrs.frozen
class Album:
    drawings: tuple[Drawing, ...] = numbered(1, default=(), max_items=3)
    shades: tuple[Shade | int, ...] = numbered(2, default=(), max_items=2)


def write(drawing: Drawing) -> bytes:
    return MessagePool({}).encode(Drawing, make_converter().unstructure(drawing))


def read(payload: bytes) -> Drawing:
    return make_converter().structure(MessagePool({}).decode(Drawing, payload), Drawing)


def test_a_record_is_written_by_its_numbers_and_annotations() -> None:
    drawing = Drawing("x", Stroke(Colour.RED, 9), None, (Stroke(), Stroke(shade=Shade.DARK)), (1, 300), ("", "y"))
    written = write(drawing)
    assert written.hex(" ", 1) == (
        "0a 01 78 1a 04 08 01 10 09 c2 3e 00 c2 3e 02 10 07 ca 3e 03 01 ac 02 d2 3e 00 d2 3e 01 79"
    )
    assert read(written) == drawing


def test_two_enums_of_one_module_may_name_a_member_alike() -> None:
    assert read(write(Drawing(first=Stroke()))).first == Stroke(Colour.NONE, Shade.NONE)


def test_defaults_are_not_written() -> None:
    assert write(Drawing()) == b""
    assert write(Drawing(last=Stroke())).hex() == "2200"


def test_only_what_is_present_is_extracted() -> None:
    assert MessagePool({}).decode(Drawing, bytes.fromhex("0a00 1a04 0801 1009")) == {3: {1: 1, 2: 9}}


def test_descriptors_stay_out_of_the_default_pool() -> None:
    MessagePool({}).decode(Drawing, b"")
    with pytest.raises(KeyError):
        descriptor_pool.Default().FindMessageTypeByName(f"{Drawing.__module__}.Drawing")


def test_an_enum_number_beyond_32_bits_is_not_written() -> None:
    with pytest.raises(LocalProtocolError, match=r"^Stroke\.shade cannot be written: ValueError$"):
        write(Drawing(first=Stroke(shade=2**31)))


def test_fields_are_written_in_the_order_of_their_numbers() -> None:
    assert MessagePool({}).encode(Drawing, {4: {}, 1: "x"}).hex() == "0a01782200"


def test_a_record_in_two_messages_is_described_once() -> None:
    pool = MessagePool({})
    assert pool.decode(Stroke, b"\x08\x01") == {1: 1}
    assert pool.decode(Drawing, bytes.fromhex("1a020801 22020801")) == {3: {1: 1}, 4: {1: 1}}


@pytest.mark.parametrize(
    "payload",
    ["0a00" * 3, "0a00" * 3 + "12020107", "1001 1007", "0a08 c23e00 c23e00 0a00"],
    ids=["records", "two lists", "an unpacked list", "a list inside without a limit"],
)
def test_a_list_may_have_as_many_items_as_its_field_says(payload: str) -> None:
    assert MessagePool({}).decode(Album, bytes.fromhex(payload))


@pytest.mark.parametrize(
    ("payload", "text"),
    [
        ("0a00" * 4, r"^4 items in Album\.drawings, at most 3$"),
        ("1203010701", r"^3 items in Album\.shades, at most 2$"),
        ("1001 12020107", r"^3 items in Album\.shades, at most 2$"),
    ],
)
def test_a_list_with_more_is_refused(payload: str, text: str) -> None:
    with pytest.raises(RemoteProtocolError, match=text):
        MessagePool({}).decode(Album, bytes.fromhex(payload))


REFUSALS = """
from google.protobuf.internal import api_implementation
from connet_trio.errors import RemoteProtocolError
from connet_trio.wire.codecs import CONTROL_AUTHENTICATE

assert api_implementation.Type() == "python"
for payload in (b"\\x0a\\x01\\xff", b"\\x0a\\x05", b"\\x0e", b"\\x7b" * 5_000 + b"\\x7c" * 5_000):
    try:
        CONTROL_AUTHENTICATE.decode(payload)
    except RemoteProtocolError:
        print("refused")
"""


def test_the_runtime_without_its_compiled_half_refuses_alike() -> None:
    result = subprocess.run(
        [sys.executable, "-c", REFUSALS],
        env={**os.environ, "PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION": "python"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.stdout.split(), result.stderr) == (["refused"] * 4, "")
