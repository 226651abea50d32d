"""The lenient converter: records ⇄ numbered fields.

Reading believes whatever can be used. Fields that are absent take their default, unknown ones are ignored, an unusable
address is left out of its list (alone it becomes None), and a number that no enum member has stays a number where the
record allows it (`X | int`), else becomes the member of number 0.
"""

import enum
import types
import typing
from collections.abc import Callable
from typing import Any, TypeVar

import attrs
import cattrs

from connet_trio.records.model import FIELD_NUMBER, AddressPort, HostPort
from connet_trio.wire.addresses import AddrPort, UnusableAddress, flatten_address, low_16_bits, nest_address
from connet_trio.wire.protobuf import Fields

R = TypeVar("R")


def make_converter() -> cattrs.Converter:
    """A converter of which `structure(fields, record)` and `unstructure(record)` are the two directions.

    What `MessagePool.decode` returned for the same record always fits, so reading can fail in one way.

    Raises (from `structure`):
      UnusableAddress: the record asked for is itself an `AddressPort`, and there is none in `fields`.
    """
    converter = cattrs.Converter(detailed_validation=False)
    converter.register_structure_hook_factory(attrs.has, _record_reader)
    converter.register_structure_hook_factory(_is_open_enum, _open_enum_reader)
    converter.register_structure_hook_factory(_is_optional, _optional_reader)
    converter.register_structure_hook_factory(_is_tuple, _tuple_reader)
    converter.register_unstructure_hook_factory(attrs.has, _record_writer)
    converter.register_unstructure_hook(tuple, lambda values: [converter.unstructure(value) for value in values])

    def read_address(fields: Fields, _: type[AddressPort]) -> AddressPort:
        return flatten_address(converter.structure(fields, AddrPort))

    def write_address(place: AddressPort) -> Fields:
        return typing.cast(Fields, converter.unstructure(nest_address(place)))

    converter.register_structure_hook(enum.IntEnum, _read_closed_enum)
    converter.register_structure_hook(AddressPort, read_address)
    converter.register_unstructure_hook(AddressPort, write_address)
    read_host, write_host = _record_reader(HostPort, converter), _record_writer(HostPort, converter)
    converter.register_structure_hook(HostPort, lambda fields, _: _bare(read_host(fields, HostPort)))
    converter.register_unstructure_hook(HostPort, lambda place: write_host(_bare(place)))
    return converter


def _bare(place: HostPort) -> HostPort:
    """`place` without the brackets that the original leaves around IPv6 addresses (trap T20)."""
    return HostPort(place.host.strip("[]"), low_16_bits(place.port))


def _is_open_enum(kind: Any) -> bool:
    return _is_union(kind) and len(typing.get_args(kind)) == 2 and int in typing.get_args(kind)


def _is_optional(kind: Any) -> bool:
    return _is_union(kind) and len(typing.get_args(kind)) == 2 and types.NoneType in typing.get_args(kind)


def _is_union(kind: Any) -> bool:
    return typing.get_origin(kind) in (types.UnionType, typing.Union)


def _is_tuple(kind: Any) -> bool:
    return typing.get_origin(kind) is tuple


def _record_reader(record: type[R], converter: cattrs.Converter) -> Callable[[Fields, Any], R]:
    arguments = [
        (
            attribute.metadata[FIELD_NUMBER],
            attribute.alias,
            attribute.type,
            converter.get_structure_hook(attribute.type),
        )
        for attribute in attrs.fields(record)  # type: ignore[arg-type]  # attrs.has said so
    ]

    def read(fields: Fields, _: Any) -> R:
        return record(
            **{name: hook(fields[number], kind) for number, name, kind, hook in arguments if number in fields}
        )

    return read


def _read_closed_enum(number: int, kind: type[enum.IntEnum]) -> enum.IntEnum:
    try:
        return kind(number)
    except ValueError:
        return kind(0)


def _open_enum_reader(union: Any) -> Callable[[int, Any], enum.IntEnum | int]:
    (kind,) = (member for member in typing.get_args(union) if member is not int)

    def read(number: int, _: Any) -> enum.IntEnum | int:
        try:
            return typing.cast(enum.IntEnum, kind(number))
        except ValueError:
            return number

    return read


def _optional_reader(union: Any, converter: cattrs.Converter) -> Callable[[Any, Any], Any]:
    (kind,) = (member for member in typing.get_args(union) if member is not types.NoneType)
    hook = converter.get_structure_hook(kind)

    def read(value: Any, _: Any) -> Any:
        try:
            return hook(value, kind)
        except UnusableAddress:
            return None

    return read


def _tuple_reader(many: Any, converter: cattrs.Converter) -> Callable[[list[Any], Any], tuple[Any, ...]]:
    kind = typing.get_args(many)[0]
    hook = converter.get_structure_hook(kind)

    def read_usable(values: list[Any]) -> typing.Iterator[Any]:
        for value in values:
            try:
                yield hook(value, kind)
            except UnusableAddress:
                continue

    return lambda values, _: tuple(read_usable(values))


def _record_writer(record: type, converter: cattrs.Converter) -> Callable[[Any], Fields]:
    numbers = [(attribute.metadata[FIELD_NUMBER], attribute.name) for attribute in attrs.fields(record)]

    def write(value: Any) -> Fields:
        present = ((number, getattr(value, name)) for number, name in numbers)
        return {number: converter.unstructure(item) for number, item in present if item is not None}

    return write
