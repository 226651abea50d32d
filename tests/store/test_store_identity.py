import random
import re
from pathlib import Path

import attrs
import pytest

from connet_trio.errors import StoreError
from connet_trio.store import control_identity, open_store, relay_identity


def entropy(seed: str) -> random.Random:
    return random.Random(seed)


def no_entropy(size: int) -> bytes:
    raise AssertionError(f"{size} bytes of entropy asked for")


async def test_a_control_server_stays_the_same_after_a_restart(tmp_path: Path) -> None:
    async with open_store(tmp_path / "state") as store:
        first = await control_identity(store, entropy("first").randbytes)
    async with open_store(tmp_path / "state") as store:
        assert await control_identity(store, no_entropy) == first


async def test_a_control_identity_is_a_name_and_four_different_secrets() -> None:
    async with open_store(None) as store:
        identity = await control_identity(store, entropy("luck").randbytes)
    assert re.fullmatch(r"[0-9a-v]{52}\.relay\.control\.invalid", identity.control_id)
    secrets = set(attrs.astuple(identity)[1:])
    assert {len(secret) for secret in secrets} == {32}
    assert len(secrets) == 4


async def test_identities_of_two_stores_differ() -> None:
    async with open_store(None) as one, open_store(None) as other:
        first = await control_identity(one, entropy("one").randbytes)
        second = await control_identity(other, entropy("other").randbytes)
    assert not set(attrs.astuple(first)) & set(attrs.astuple(second))


async def test_secrets_are_kept_out_of_repr() -> None:
    async with open_store(None) as store:
        control = await control_identity(store, entropy("luck").randbytes)
        relay = await relay_identity(store, entropy("more luck").randbytes)
        await relay.save_control("control", b"reconnect token")
    assert repr(control) == f"ControlIdentity(control_id={control.control_id!r})"
    assert repr(relay) == "RelayIdentity(control_id='control')"


async def test_a_new_relay_belongs_to_no_control_server(tmp_path: Path) -> None:
    async with open_store(tmp_path / "state") as store:
        relay = await relay_identity(store, entropy("luck").randbytes)
    assert (len(relay.reset_key), relay.control_id, relay.reconnect_token) == (32, None, b"")


async def test_a_relay_remembers_its_control_server_after_a_restart(tmp_path: Path) -> None:
    async with open_store(tmp_path / "state") as store:
        first = await relay_identity(store, entropy("luck").randbytes)
        await first.save_control("control", b"token 1")
        await first.save_control("control", b"token 2")
        assert (first.control_id, first.reconnect_token) == ("control", b"token 2")
    async with open_store(tmp_path / "state") as store:
        second = await relay_identity(store, no_entropy)
    assert (second.reset_key, second.control_id, second.reconnect_token) == (first.reset_key, "control", b"token 2")


async def test_a_relay_knows_its_control_server_even_if_it_cannot_be_kept(tmp_path: Path) -> None:
    async with open_store(tmp_path / "state") as store:
        relay = await relay_identity(store, entropy("luck").randbytes)
    with pytest.raises(StoreError):
        await relay.save_control("control", b"token")
    assert (relay.control_id, relay.reconnect_token) == ("control", b"token")


async def test_control_and_relay_can_share_a_store() -> None:
    async with open_store(None) as store:
        control = await control_identity(store, entropy("luck").randbytes)
        relay = await relay_identity(store, entropy("more luck").randbytes)
        assert relay.reset_key not in attrs.astuple(control)


@pytest.mark.parametrize(
    ("key", "value", "complaint"),
    [
        ("config/server-client-secret", b"short", "holds 5 bytes as config/server-client-secret, 32 expected"),
        ("config/server-id", b"\xff", "holds no text as config/server-id"),
    ],
)
async def test_a_value_that_cannot_be_ours_is_an_error_in_words(key: str, value: bytes, complaint: str) -> None:
    async with open_store(None) as store:
        await store.put(key, value)
        with pytest.raises(StoreError, match=complaint) as caught:
            await control_identity(store, entropy("luck").randbytes)
    assert "short" not in str(caught.value)
