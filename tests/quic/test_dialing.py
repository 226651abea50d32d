"""Dialling somebody who may be at several places: which is tried, in which order, and what is said if none answers."""

from collections.abc import Mapping

import pytest
import trio

from connet_trio.errors import DialFailed
from connet_trio.quic import Surroundings, dial_first
from connet_trio.records.model import AddressPort, HostPort
from connet_trio.testing.deployment import resolve_literal
from tests.quic.conftest import FAR, STRANGER, Pair, dialing, listening, open_pair, virtual_time

pytestmark = virtual_time

HERE = HostPort("192.0.2.1", 4000)
DEAD = HostPort("192.0.2.77", 4000)
DEAD_TOO = HostPort("192.0.2.78", 4000)
OTHER_FAMILY = HostPort("2001:db8::1", 4000)
SILENCE_SECONDS = 5.0
"""What an address gets that does not answer at all."""


class Names:
    """A resolver that knows a few names, and remembers what it was asked."""

    def __init__(self, known: Mapping[str, tuple[HostPort, ...]] = {}) -> None:
        self.known = dict(known)
        self.asked: list[str] = []

    async def resolve(self, place: HostPort) -> tuple[AddressPort, ...]:
        self.asked.append(place.host)
        found: tuple[AddressPort, ...] = ()
        for address in self.known.get(place.host, (place,)):
            found += await resolve_literal(address)
        return found

    @property
    def surroundings(self) -> Surroundings:
        return Surroundings(resolve=self.resolve)


async def test_the_first_address_that_answers_is_dialled(pair: Pair) -> None:
    names = Names({"control.example": (OTHER_FAMILY, DEAD, HERE, DEAD_TOO)})
    connection = await dial_first(pair.dialer, names.surroundings, (HostPort("control.example", 1),), dialing())
    assert str(connection.remote_address) == FAR
    assert trio.current_time() == pytest.approx(SILENCE_SECONDS, abs=0.5)
    assert len(pair.dialer.connections) == 1


async def test_places_are_tried_in_their_order_and_later_ones_not_looked_up(pair: Pair) -> None:
    names = Names()
    await dial_first(pair.dialer, names.surroundings, (DEAD, HERE, HostPort("slow.example", 1)), dialing())
    assert names.asked == ["192.0.2.77", "192.0.2.1"]


async def test_names_are_looked_up_each_time(pair: Pair) -> None:
    names, place = Names({"control.example": (DEAD,)}), HostPort("control.example", 1)
    with pytest.raises(DialFailed):
        await dial_first(pair.dialer, names.surroundings, (place,), dialing())
    names.known["control.example"] = (HERE,)
    await dial_first(pair.dialer, names.surroundings, (place,), dialing())
    assert names.asked == ["control.example"] * 2


async def test_a_name_that_does_not_resolve_is_passed_over(pair: Pair) -> None:
    connection = await dial_first(pair.dialer, Names().surroundings, (HostPort("nowhere", 1), HERE), dialing())
    assert not connection.is_closed


async def test_an_address_that_two_places_share_is_tried_once(pair: Pair) -> None:
    names = Names({"a.example": (DEAD,), "b.example": (DEAD, DEAD)})
    places = (HostPort("a.example", 1), HostPort("b.example", 1))
    with pytest.raises(DialFailed) as failed:
        await dial_first(pair.dialer, names.surroundings, places, dialing())
    assert str(failed.value).count("192.0.2.77:4000") == 1
    assert trio.current_time() == pytest.approx(SILENCE_SECONDS, abs=0.5)


async def test_the_error_says_of_each_place_why() -> None:
    async with open_pair(listen=listening(expected=STRANGER, credential=STRANGER.server)) as pair:
        places = (HostPort("nowhere", 1), OTHER_FAMILY, DEAD, HERE)
        with pytest.raises(DialFailed) as failed:
            await dial_first(pair.dialer, Names().surroundings, places, dialing())
    name, family, dead, certificate = str(failed.value).split("; ")
    assert name == "cannot resolve nowhere: no names on a simulated network"
    assert "[2001:db8::1]:4000" in family
    assert dead.startswith("192.0.2.77:4000: no answer")
    assert certificate.startswith("192.0.2.1:4000: the server certificate is not the one")


async def test_the_error_says_how_long_an_answer_was_waited_for(pair: Pair) -> None:
    with pytest.raises(DialFailed) as failed:
        await dial_first(pair.dialer, Names().surroundings, (DEAD,), dialing())
    assert f"no answer within {round(trio.current_time())} s" in str(failed.value)


async def test_without_a_place_there_is_nothing_to_dial(pair: Pair) -> None:
    with pytest.raises(DialFailed, match="no address to dial"):
        await dial_first(pair.dialer, Names().surroundings, (), dialing())


async def test_a_cancelled_dial_goes_on_to_no_other_address_and_leaves_nothing_behind(pair: Pair) -> None:
    names = Names()
    with trio.move_on_after(3) as scope:
        await dial_first(pair.dialer, names.surroundings, (DEAD, HERE), dialing())
    assert scope.cancelled_caught
    assert names.asked == ["192.0.2.77"]
    await trio.sleep(60)
    assert pair.dialer.connections == ()
