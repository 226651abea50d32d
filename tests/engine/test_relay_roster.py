"""Which relays are up."""

from connet_trio.engine.relay_roster import RelayEntry, RelayRoster
from connet_trio.records.model import HostPort


def entry(seal_key: bytes = b"k" * 32, metadata: str = "") -> RelayEntry:
    return RelayEntry(
        addresses=(HostPort("relay.example.org", 19191),),
        metadata=metadata,
        server_certificate=b"leaf",
        seal_key=seal_key,
    )


def test_a_relay_is_offered_from_its_registration_until_its_connection_is_lost() -> None:
    roster = RelayRoster()
    assert roster.handle_register("eu1", "conn-1", entry())
    assert roster.entries() == {"eu1": entry()}
    assert roster.handle_lost("eu1", "conn-1")
    assert roster.entries() == {}
    assert not roster.handle_lost("eu1", "conn-1")


def test_a_relay_that_authenticates_again_is_offered_with_its_new_key() -> None:
    roster = RelayRoster()
    roster.handle_register("eu1", "conn-1", entry(b"a" * 32))
    assert roster.handle_register("eu1", "conn-2", entry(b"b" * 32))
    assert roster.entries()["eu1"].seal_key == b"b" * 32


def test_a_registration_that_says_the_same_is_no_change_but_owns_the_entry() -> None:
    roster = RelayRoster()
    roster.handle_register("eu1", "conn-1", entry())
    assert not roster.handle_register("eu1", "conn-2", entry())
    assert not roster.handle_lost("eu1", "conn-1")
    assert roster.handle_lost("eu1", "conn-2")


def test_the_loss_of_an_old_connection_leaves_the_newer_registration() -> None:
    roster = RelayRoster()
    roster.handle_register("eu1", "conn-1", entry(metadata="old"))
    roster.handle_register("eu1", "conn-2", entry(metadata="new"))
    assert not roster.handle_lost("eu1", "conn-1")
    assert roster.entries() == {"eu1": entry(metadata="new")}


def test_entries_come_in_the_order_of_ids() -> None:
    roster = RelayRoster()
    for relay_id in ("us1", "ap1", "eu1"):
        roster.handle_register(relay_id, "conn-1", entry())
    assert list(roster.entries()) == ["ap1", "eu1", "us1"]


def test_the_seal_key_is_not_in_the_representation() -> None:
    assert "SEALKEY" not in repr(entry(b"SEALKEY" * 4))
