"""Numbered fields ⇄ bytes, by the protobuf runtime (proto3).

The records are the only schema: a field's number is in its attrs metadata, its type in its annotation.

| annotation                       | protobuf                                                |
| -------------------------------- | ------------------------------------------------------- |
| `str`, `bytes`, `int`            | string, bytes, uint32                                   |
| an `IntEnum`, alone or `\\| int` | enum (open: unknown numbers are kept)                   |
| a record `\\| None`              | message; None is its absence, an empty one is present   |
| `tuple[X, ...]`                  | repeated X; enums are packed, and read unpacked as well |

As everywhere in protobuf, fields of unknown numbers are skipped, and so is a known one in another wire type.
"""

import enum
import types
import typing
from collections.abc import Mapping
from typing import TypeAlias

import attrs
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message

from connet_trio.errors import LocalProtocolError, RemoteProtocolError
from connet_trio.records.model import FIELD_NUMBER, MAX_ITEMS

Fields: TypeAlias = "dict[int, Value]"
"""What one message holds: present fields by number; a sub-message is `Fields` again, an enum its number."""

Value: TypeAlias = "str | bytes | int | Fields | list[Value]"

_Proto = descriptor_pb2.FieldDescriptorProto

_SCALARS = {str: _Proto.TYPE_STRING, bytes: _Proto.TYPE_BYTES, int: _Proto.TYPE_UINT32}


class MessagePool:
    """Messages described from records, each at its first use, in a descriptor pool of their own.

    Args:
      written_as: records described by the fields of another record than themselves.
    """

    def __init__(self, written_as: Mapping[type, type]) -> None:
        self._written_as = written_as
        self._pool = descriptor_pool.DescriptorPool()
        self._files: dict[type, str] = {}
        self._classes: dict[type, type[Message]] = {}
        self._max_items: dict[str, int | None] = {}  # by full name of the field

    def encode(self, record: type, fields: Fields) -> bytes:
        """The message of `record` with `fields`, in the order of their numbers.

        Raises:
          LocalProtocolError: a value does not fit its field; the text names the field, never the value.
        """
        message = self._message_class(record)()
        _fill(message, fields)
        return message.SerializeToString(deterministic=True)

    def decode(self, record: type, payload: bytes) -> Fields:
        """The fields of `record` present in `payload`; scalars and lists that are empty or zero count as absent.

        Raises:
          RemoteProtocolError: truncated, an illegal wire type, nested too deep, text that is not UTF-8, or a list with
            more items than its field allows.
        """
        try:
            message = self._message_class(record).FromString(payload)
        except (DecodeError, UnicodeDecodeError, RecursionError) as exc:
            # the latter two come from the runtime's Python implementation, where there is no compiled one
            raise RemoteProtocolError(f"{len(payload)} bytes that are no {record.__qualname__} message") from exc
        return self._extract(message)

    def _extract(self, message: Message) -> Fields:
        return {descriptor.number: self._value(descriptor, value) for descriptor, value in message.ListFields()}

    def _value(self, descriptor: FieldDescriptor, value: typing.Any) -> Value:
        if isinstance(value, Message):
            return self._extract(value)
        if isinstance(value, str | bytes | int):
            return value
        limit = self._max_items[descriptor.full_name]
        if limit is not None and len(value) > limit:
            field = ".".join(descriptor.full_name.split(".")[-2:])
            raise RemoteProtocolError(f"{len(value)} items in {field}, at most {limit}")
        if descriptor.message_type is not None:
            return [self._extract(item) for item in value]
        return list(value)

    def _message_class(self, record: type) -> type[Message]:
        shape = self._written_as.get(record, record)
        if shape not in self._classes:
            self._describe(shape)
            descriptor = self._pool.FindMessageTypeByName(_full_name(shape))
            self._classes[shape] = message_factory.GetMessageClass(descriptor)
        return self._classes[shape]

    def _describe(self, described: type) -> str:
        """Put `described` (a record or an enum) and what it refers to into the pool; the name of its file there."""
        if described not in self._files:
            file = descriptor_pb2.FileDescriptorProto(
                name=f"{_full_name(described)}.proto", package=described.__module__, syntax="proto3"
            )
            if issubclass(described, enum.IntEnum):
                _describe_enum(file, described)
            else:
                self._describe_record(file, described)
            self._pool.Add(file)
            self._files[described] = file.name
        return self._files[described]

    def _describe_record(self, file: descriptor_pb2.FileDescriptorProto, record: type) -> None:
        message = file.message_type.add(name=record.__name__)
        for attribute in attrs.fields(record):
            kind, repeated = _kind(attribute.type)
            kind = self._written_as.get(kind, kind)
            field = message.field.add(name=attribute.name, number=attribute.metadata[FIELD_NUMBER])
            field.label = _Proto.LABEL_REPEATED if repeated else _Proto.LABEL_OPTIONAL
            self._max_items[f"{_full_name(record)}.{attribute.name}"] = attribute.metadata.get(MAX_ITEMS)
            if kind in _SCALARS:
                field.type = _SCALARS[kind]
                continue
            field.type = _Proto.TYPE_ENUM if issubclass(kind, enum.IntEnum) else _Proto.TYPE_MESSAGE
            field.type_name = f".{_full_name(kind)}"
            dependency = self._describe(kind)
            if dependency not in file.dependency:
                file.dependency.append(dependency)


def _full_name(described: type) -> str:
    return f"{described.__module__}.{described.__name__}"


def _kind(annotation: object) -> tuple[type, bool]:
    """What one value of an annotated field is, and whether there may be many of them."""
    if typing.get_origin(annotation) is tuple:
        kind, _ = _kind(typing.get_args(annotation)[0])
        return kind, True
    if typing.get_origin(annotation) in (types.UnionType, typing.Union):
        # `record | None` and `enum | int`: what stands beside the type says how it is read, not how it is written
        (annotation,) = (kind for kind in typing.get_args(annotation) if kind not in (int, types.NoneType))
    assert isinstance(annotation, type)
    return annotation, False


def _describe_enum(file: descriptor_pb2.FileDescriptorProto, described: type[enum.IntEnum]) -> None:
    values = file.enum_type.add(name=described.__name__)
    for member in described:
        # protobuf scopes the names of members to the package, where two enums may both have a NONE
        values.value.add(name=f"{described.__name__}_{member.name}", number=member.value)


def _fill(message: Message, fields: Fields) -> None:
    for number, value in fields.items():
        name = message.DESCRIPTOR.fields_by_number[number].name
        try:
            _set(message, name, value)
        except (TypeError, ValueError) as exc:
            # the runtime's texts quote the value, which may be a secret
            text = f"{message.DESCRIPTOR.name}.{name} cannot be written: {type(exc).__name__}"
            raise LocalProtocolError(text) from None


def _set(message: Message, name: str, value: Value) -> None:
    if isinstance(value, dict):
        submessage = getattr(message, name)
        submessage.SetInParent()
        _fill(submessage, value)
    elif isinstance(value, list):
        repeated = getattr(message, name)
        for item in value:
            if isinstance(item, dict):
                _fill(repeated.add(), item)
            else:
                repeated.append(item)
    else:
        setattr(message, name, value)
