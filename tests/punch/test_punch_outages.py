"""Peers and control nodes that come late, lie, are lost or share nothing but a network."""

import logging
from functools import partial

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from connet_trio.errors import ConfigError
from connet_trio.punch import Cause, OpenHole, PunchFailed
from connet_trio.records.punch import Close, Introduction, Ping, Pong
from connet_trio.testing import FULL_CONE, PORT_RESTRICTED, Link
from connet_trio.testing.punch_lab import SECRET, PunchLab, check_hole, simulate, together
from connet_trio.wire.punch import encode_body
from connet_trio.wire.punch_seal import seal


@pytest.mark.parametrize("late", ["a", "b"])
@pytest.mark.parametrize("seconds", [0.0, 1.0, 10.0, 35.0, 600.0])
def test_a_pair_meets_in_either_order_within_a_second_of_the_later_start(late: str, seconds: float) -> None:
    async def scenario(lab: PunchLab) -> float:
        await lab.start_control()
        sites = [lab.add_site(PORT_RESTRICTED), lab.add_site(PORT_RESTRICTED)]
        names = ("a", "b") if late == "b" else ("b", "a")
        outcomes = await together(
            partial(lab.outcome, sites[0], names[0], time_limit=None),
            partial(lab.outcome, sites[1], names[1], time_limit=None, after=seconds),
        )
        assert all(isinstance(outcome, OpenHole) for outcome in outcomes)
        return trio.current_time() - seconds

    assert simulate(scenario) < 1.0


def test_several_pairs_at_once_find_their_own_partners() -> None:
    async def scenario(lab: PunchLab) -> None:
        await lab.start_control()
        names = ["a", "b", "c", "d", "y", "z", "office/a", "office/b", "home/b", "home/a"]
        hosts = {name: lab.add_site(PORT_RESTRICTED) for name in names}
        holes = await together(*(partial(lab.punch, hosts[name], name) for name in names))
        for number in range(0, len(names), 2):
            one, other = holes[number], holes[number + 1]
            assert other.name == one.name.partner
            await check_hole(hosts[names[number]], one, hosts[names[number + 1]], other)

    simulate(scenario)


def test_a_peer_tries_for_ever_when_control_and_partner_come_later() -> None:
    async def scenario(lab: PunchLab) -> float:
        sites = [lab.add_site(PORT_RESTRICTED), lab.add_site(PORT_RESTRICTED)]

        async def start_control() -> OpenHole | PunchFailed:
            await trio.sleep(3600)
            await lab.start_control()
            return await lab.outcome(sites[1], "b")

        outcomes = await together(partial(lab.outcome, sites[0], "a", time_limit=None), start_control)
        assert all(isinstance(outcome, OpenHole) for outcome in outcomes)
        return trio.current_time() - 3600

    assert simulate(scenario) < 12  # the first asks every ten seconds


async def cause(lab: PunchLab, name: str = "a") -> Cause:
    """What a peer that finds nobody says about it."""
    outcome = await lab.outcome(lab.add_site(PORT_RESTRICTED), name)
    assert isinstance(outcome, PunchFailed)
    assert trio.current_time() <= 20.0
    return outcome.diagnosis.cause


def test_without_control_it_says_so() -> None:
    assert simulate(cause) is Cause.NO_CONTROL


@pytest.mark.parametrize("name", ["a", "office/a"])
def test_with_another_secret_it_says_so(name: str) -> None:
    async def scenario(lab: PunchLab) -> Cause:
        await lab.start_control(secret=b"another")
        return await cause(lab, name)

    assert simulate(scenario) is Cause.WRONG_SECRET


def test_a_hidden_control_node_is_silent_to_another_secret() -> None:
    async def scenario(lab: PunchLab) -> Cause:
        await lab.start_control(secret=b"another", hidden=True)
        return await cause(lab)

    assert simulate(scenario) is Cause.NO_CONTROL


def test_without_its_partner_it_says_so() -> None:
    async def scenario(lab: PunchLab) -> Cause:
        await lab.start_control()
        return await cause(lab)

    assert simulate(scenario) is Cause.PARTNER_ABSENT


def test_a_partner_cut_off_is_no_symmetric_nat() -> None:
    async def scenario(lab: PunchLab) -> None:
        await lab.start_control()
        sites = [lab.add_site(PORT_RESTRICTED), lab.add_site(FULL_CONE)]
        lab.network.cut(sites[0], sites[1])
        outcomes = await together(partial(lab.outcome, sites[0], "a"), partial(lab.outcome, sites[1], "b"))
        causes = [outcome.diagnosis.cause for outcome in outcomes if isinstance(outcome, PunchFailed)]
        assert causes == [Cause.UNREACHABLE] * 2

    simulate(scenario)


def test_a_cable_that_is_plugged_in_later_is_used() -> None:
    async def scenario(lab: PunchLab) -> None:
        await lab.start_control()
        sites = [lab.add_site(PORT_RESTRICTED), lab.add_site(PORT_RESTRICTED)]
        lab.network.cut(sites[0], sites[1])

        async def plug_in() -> None:
            await trio.sleep(60)
            lab.network.heal(sites[0], sites[1])

        lab.nursery.start_soon(plug_in)
        outcomes = await together(
            partial(lab.outcome, sites[0], "a", time_limit=90.0), partial(lab.outcome, sites[1], "b", time_limit=90.0)
        )
        assert all(isinstance(outcome, OpenHole) for outcome in outcomes)

    simulate(scenario)


@settings(max_examples=25)
@given(seed=st.integers(0, 2**32), loss=st.floats(0, 0.3), delay=st.floats(0.0, 0.3), reordering=st.floats(0, 0.3))
def test_over_a_bad_link_both_sides_get_the_same_hole(seed: int, loss: float, delay: float, reordering: float) -> None:
    async def scenario(lab: PunchLab) -> None:
        await lab.start_control()
        sites = [lab.add_site(PORT_RESTRICTED), lab.add_site(PORT_RESTRICTED)]
        holes = await together(
            partial(lab.punch, sites[0], "a", time_limit=None), partial(lab.punch, sites[1], "b", time_limit=None)
        )
        assert [str(hole.remote) for hole in holes] == ["203.0.113.2:5000", "203.0.113.1:5000"]

    simulate(scenario, seed=str(seed), link=Link(loss=loss, delay=delay, reordering=reordering, duplication=loss))


HOSTILE = [
    seal(SECRET, b"a")[:41],
    seal(b"another", b"a"),
    b"a",
    b"",
    bytes(2000),
    *(seal(b"another", encode_body(message)) for message in (Ping(), Pong(), Close())),
]


@pytest.mark.parametrize("number", range(len(HOSTILE)))
def test_only_holders_of_the_secret_are_served(number: int) -> None:
    async def scenario(lab: PunchLab) -> None:
        await lab.start_control()
        peer = lab.add_site(None)
        await lab.punch_until_asleep(peer, "a")
        stranger = lab.network.socket("203.0.113.99:1")
        for address in (lab.control, lab.place(peer)):
            stranger.send_batch([(HOSTILE[number], stranger.path_to(address))] * 100)
        await trio.sleep(1)
        assert stranger.receive_batch() == []

    simulate(scenario)


def test_what_is_signed_and_makes_no_sense_ends_nobody(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(lab: PunchLab) -> None:
        await lab.start_control()
        sites = [lab.add_site(None), lab.add_site(None)]
        await lab.punch_until_asleep(sites[0], "a")
        fool = lab.network.socket("203.0.113.99:1")
        bodies = (b"z", b"i|b", b"i|b|nonsense", b"i|b|1.2.3.4", b"q", b"\xff", b"m|", b"i|b|[::1]:1")
        place = lab.place(sites[0])
        fool.send_batch([(seal(SECRET, body), fool.path_to(place)) for body in bodies])
        fool.send_batch(
            [(seal(SECRET, body), fool.path_to(lab.control)) for body in (b"i|b|1.2.3.4:1", b"A", b"n|", b"\0")]
        )
        await trio.sleep(1)
        outcomes = [await lab.outcome(sites[1], "b"), await lab.kept_outcome()]
        assert all(isinstance(outcome, OpenHole) for outcome in outcomes)

    with caplog.at_level(logging.WARNING):
        simulate(scenario)
    told = [record.getMessage() for record in caplog.records if "ignored" in record.getMessage()]
    assert len(told) == 10  # a line for each, except `z` and the address nobody is at, which are well-formed


def test_a_flood_of_wrong_signatures_is_one_line_of_log(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(lab: PunchLab) -> None:
        await lab.start_control()
        stranger = lab.network.socket("203.0.113.99:1")
        stranger.send_batch([(seal(b"another", b"a"), stranger.path_to(lab.control))] * 500)
        await trio.sleep(1)

    with caplog.at_level(logging.WARNING):
        simulate(scenario)
    assert len(caplog.records) == 1
    assert "another secret" in caplog.text


def test_an_introduction_replayed_to_a_finished_pair_opens_nothing() -> None:
    async def scenario(lab: PunchLab) -> None:
        await lab.start_control()
        peer = lab.add_site(None)
        await lab.punch_until_asleep(peer, "c")
        replayed = seal(SECRET, encode_body(Introduction("b", lab.place(peer))))
        fool = lab.network.socket("203.0.113.99:1")
        fool.send_batch([(replayed, fool.path_to(lab.place(peer)))])
        await trio.sleep(1)
        outcome = await lab.kept_outcome()
        assert isinstance(outcome, PunchFailed)
        assert outcome.diagnosis.cause is Cause.PARTNER_ABSENT

    simulate(scenario)


UNLUCKY_SECRET = b"k344760320"
"""Its signature of the body `a` has a word of zeros."""


def test_a_control_node_refuses_a_secret_that_cannot_sign_every_letter() -> None:
    async def scenario(lab: PunchLab) -> None:
        with pytest.raises(ConfigError, match="take another"):
            await lab.start_control(secret=UNLUCKY_SECRET)

    simulate(scenario)


def test_a_peer_refuses_a_secret_that_cannot_sign_its_own_letter() -> None:
    async def scenario(lab: PunchLab) -> None:
        await lab.start_control()
        with pytest.raises(ConfigError, match="take another"):
            await lab.punch(lab.add_site(None), "a", secret=UNLUCKY_SECRET)

    simulate(scenario)
