"""What every record has in common."""

import inspect
from typing import Any

import attrs
import pytest

from connet_trio.records import control, control_relay, model, peer, relay
from connet_trio.records.error_code import ErrorCode
from connet_trio.records.model import FIELD_NUMBER, AddressPort

RECORDS: list[type[attrs.AttrsInstance]] = [
    member
    for module in (model, control, control_relay, relay, peer)
    for member in vars(module).values()
    if inspect.isclass(member) and member.__module__ == module.__name__ and attrs.has(member)
]
SENT = [record for record in RECORDS if record is not AddressPort]

SECRETS: list[tuple[type[Any], str]] = [
    (control.Authenticate, "token"),
    (control.Authenticate, "reconnect_token"),
    (control.Authenticated, "reconnect_token"),
    (control.Relay, "authentication"),
    (control_relay.Authenticate, "token"),
    (control_relay.Authenticate, "reconnect_token"),
    (control_relay.Authenticated, "reconnect_token"),
    (relay.Authenticate, "authentication"),
]


def named(record: type) -> str:
    return f"{record.__module__.rpartition('.')[2]}.{record.__name__}"


def test_the_records_of_every_conversation_are_looked_at() -> None:
    assert {named(record) for record in SENT} >= {"control.Peer", "control_relay.Authenticate", "peer.Check"}


@pytest.mark.parametrize(
    ("record", "field"), SECRETS, ids=lambda value: value if isinstance(value, str) else named(value)
)
def test_secrets_are_not_shown(record: type[Any], field: str) -> None:
    is_text = attrs.fields_dict(record)[field].type is str
    shown = record(**{field: "hunter2" if is_text else b"hunter2"})
    assert "hunter2" not in repr(shown)
    assert "hunter2" not in str(shown)
    assert "hunter2" not in repr((shown,))


def test_no_field_that_sounds_secret_is_shown() -> None:
    shown = {
        f"{named(record)}.{attribute.name}"
        for record in RECORDS
        for attribute in attrs.fields(record)
        if attribute.repr and (attribute.name.endswith("token") or attribute.name == "authentication")
    }
    assert shown == set()


@pytest.mark.parametrize("record", SENT, ids=named)
def test_every_field_has_a_number_of_its_own_and_a_default(record: type[Any]) -> None:
    numbers = [attribute.metadata[FIELD_NUMBER] for attribute in attrs.fields(record)]
    assert len(set(numbers)) == len(numbers)
    assert record() == record()


@pytest.mark.parametrize("record", SENT, ids=named)
def test_records_do_not_change(record: type[Any]) -> None:
    for attribute in attrs.fields(record):
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            setattr(record(), attribute.name, None)


def test_error_codes_come_in_hundreds() -> None:
    assert {code // 100 for code in ErrorCode} == {0, 1, 2, 3, 4, 5}
    assert ErrorCode(501) is ErrorCode.DESTINATION_DIAL_FAILED
