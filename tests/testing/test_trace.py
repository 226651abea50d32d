"""Traces say who sent what to whom, and what became of it."""

import trio

from connet_trio.quic.network_path import NetworkPath
from connet_trio.testing import Fate, Link, open_network, run_simulated
from connet_trio.testing.network import packet_kind
from connet_trio.testing.trace import readable_trace

INITIAL, SHORT = b"\xc3" + bytes(1199), b"\x41" + bytes(99)


def test_a_row_of_like_datagrams_is_one_line_and_notes_stand_between() -> None:
    async def scenario() -> list[str]:
        async with open_network(1, link=Link(delay=0.1), trace_limit=100) as network:
            sender, _ = network.socket("192.0.2.1:1000"), network.socket("192.0.2.2:2000")
            path = NetworkPath(("192.0.2.2", 2000), None)
            sender.send_batch([(INITIAL, path), (SHORT, path), (SHORT, path)])
            await trio.sleep(0.5)
            network.cut("192.0.2.1", "192.0.2.2")
            sender.send_batch([(SHORT, path)])
            notes = [(0.3, "the cable is cut")]
            return list(readable_trace(network.trace, notes, names={"192.0.2.1": "alice", "192.0.2.2": "bob"}))

    way = f"{'192.0.2.1:1000 (alice)':44} -> {'192.0.2.2:2000 (bob)':36}"
    assert run_simulated(scenario, seed=1) == [
        f"    0.100000  {way}     1 x Initial       1200 B  {Fate.DELIVERED.value}",
        f"    0.100000  {way}     2 x 1-RTT          200 B  {Fate.DELIVERED.value}",
        "    0.300000  ** the cable is cut",
        f"    0.500000  {way}     1 x 1-RTT          100 B  {Fate.CUT.value}",
    ]


def test_packets_are_told_apart_by_their_first_byte() -> None:
    assert [packet_kind(bytes([first])) for first in (0xC0, 0xD1, 0xE2, 0xF0, 0x40, 0x00)] == [
        "Initial",
        "0-RTT",
        "Handshake",
        "Retry",
        "1-RTT",
        "not QUIC",
    ]
