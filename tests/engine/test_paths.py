"""The paths to the peers of one endpoint, and the order to try them."""

import math

import pytest

from connet_trio.engine.paths import (
    PROBE_INTERVAL_SECONDS,
    ConnectedVia,
    NoCommonRelay,
    NoRelayUp,
    NotAnswering,
    Path,
    PathKind,
    Paths,
)
from connet_trio.records.control import Peer, RemotePeer

EU1 = Path(PathKind.RELAY, "eu1")
US1 = Path(PathKind.RELAY, "us1")
AP1 = Path(PathKind.RELAY, "ap1")
RTTS = {EU1: 0.020, US1: 0.090, AP1: 0.200}


def peer(client_id: str, *relay_ids: str) -> RemotePeer:
    return RemotePeer(id=client_id, peer=Peer(relay_ids=relay_ids))


def paths_up(*peers: RemotePeer, relays: tuple[str, ...] = ("ap1", "eu1", "us1")) -> Paths:
    paths = Paths(probe_interval_seconds=15.0)
    for relay_id in relays:
        paths.handle_relay_up(relay_id)
    paths.handle_peers(peers)
    return paths


def order(paths: Paths, now: float = 0.0) -> list[Path]:
    return paths.candidates(RTTS.__getitem__, now)


def test_a_relay_is_a_path_while_our_link_is_up_and_a_peer_announces_it() -> None:
    paths = Paths()
    assert order(paths) == []
    paths.handle_relay_up("eu1")
    assert order(paths) == []
    paths.handle_peers([peer("laptop", "eu1", "us1")])
    assert order(paths) == [EU1]
    assert paths.active() == {EU1}
    paths.handle_relay_down("eu1")
    assert order(paths) == []
    paths.handle_relay_up("us1")
    assert order(paths) == [US1]
    paths.handle_peers([])
    assert order(paths) == []


def test_a_relay_with_several_peers_is_one_path() -> None:
    assert order(paths_up(peer("laptop", "eu1"), peer("phone", "eu1"))) == [EU1]


def test_paths_are_tried_by_ascending_round_trip_time() -> None:
    paths = paths_up(peer("laptop", "eu1", "us1", "ap1"))
    assert order(paths) == [EU1, US1, AP1]
    assert paths.candidates({EU1: 0.3, US1: 0.2, AP1: 0.1}.__getitem__, 0.0) == [AP1, US1, EU1]


def test_paths_of_equal_round_trip_time_come_in_a_stable_order() -> None:
    assert paths_up(peer("laptop", "eu1", "us1", "ap1")).candidates(lambda _: 0.05, 0.0) == [AP1, EU1, US1]


def test_a_path_that_did_not_answer_is_tried_last_until_it_answers() -> None:
    paths = paths_up(peer("laptop", "eu1", "us1", "ap1"))
    paths.handle_no_answer(EU1, now=100.0)
    assert order(paths, 100.0) == [US1, AP1, EU1]
    paths.handle_answer(EU1)
    assert order(paths, 100.0) == [EU1, US1, AP1]
    assert paths.next_deadline() == math.inf


def test_several_suspects_keep_their_order_among_themselves() -> None:
    paths = paths_up(peer("laptop", "eu1", "us1", "ap1"))
    paths.handle_no_answer(US1, now=100.0)
    paths.handle_no_answer(EU1, now=101.0)
    assert order(paths, 101.0) == [AP1, EU1, US1]


def test_a_suspect_is_tried_in_its_turn_after_the_probe_interval() -> None:
    paths = paths_up(peer("laptop", "eu1", "us1"))
    assert paths.next_deadline() == math.inf
    paths.handle_no_answer(EU1, now=100.0)
    paths.handle_no_answer(US1, now=104.0)
    paths.handle_timer(now=114.9)
    assert paths.next_deadline() == 115.0
    assert order(paths, 114.9) == [EU1, US1]
    paths.handle_timer(now=115.0)
    assert paths.next_deadline() == 119.0
    paths.handle_no_answer(EU1, now=115.0)
    assert paths.next_deadline() == 119.0
    paths.handle_timer(now=119.0)
    assert order(paths, 119.0) == [US1, EU1]


def test_a_late_timer_does_not_make_a_suspicion_last_longer() -> None:
    paths = paths_up(peer("laptop", "eu1", "us1"))
    paths.handle_no_answer(EU1, now=100.0)
    assert order(paths, 114.9) == [US1, EU1]
    assert order(paths, 115.0) == [EU1, US1]


def test_the_probe_interval_has_a_default() -> None:
    paths = Paths()
    paths.handle_relay_up("eu1")
    paths.handle_peers([peer("laptop", "eu1")])
    paths.handle_no_answer(EU1, now=100.0)
    assert paths.next_deadline() == 100.0 + PROBE_INTERVAL_SECONDS


def test_a_link_that_comes_up_anew_is_not_suspect() -> None:
    paths = paths_up(peer("laptop", "eu1", "us1"))
    paths.handle_no_answer(EU1, now=100.0)
    paths.handle_relay_up("eu1")
    assert order(paths, 100.0) == [EU1, US1]


def test_only_an_active_path_is_suspect() -> None:
    paths = paths_up(peer("laptop", "eu1", "us1"))
    paths.handle_no_answer(AP1, now=100.0)
    assert paths.next_deadline() == math.inf
    paths.handle_no_answer(EU1, now=100.0)
    paths.handle_relay_down("eu1")
    assert paths.next_deadline() == math.inf
    paths.handle_no_answer(EU1, now=101.0)
    assert paths.next_deadline() == math.inf
    paths.handle_no_answer(US1, now=102.0)
    paths.handle_peers([peer("laptop", "eu1")])
    assert paths.next_deadline() == math.inf


def test_a_new_list_of_peers_does_not_clear_a_suspicion() -> None:
    paths = paths_up(peer("laptop", "eu1", "us1"))
    paths.handle_no_answer(EU1, now=100.0)
    paths.handle_peers([peer("laptop", "eu1", "us1"), peer("phone", "eu1")])
    assert order(paths, 100.0) == [US1, EU1]


def test_each_peer_is_connected_through_the_first_of_its_relays() -> None:
    paths = paths_up(peer("laptop", "us1", "eu1"), peer("phone", "ap1", "us1"))
    assert paths.peer_states(RTTS.__getitem__, 0.0) == {"laptop": ConnectedVia(EU1), "phone": ConnectedVia(US1)}


def test_a_suspect_is_selected_only_when_there_is_nothing_better() -> None:
    paths = paths_up(peer("laptop", "us1", "eu1"), peer("phone", "eu1"))
    paths.handle_no_answer(EU1, now=100.0)
    states = paths.peer_states(RTTS.__getitem__, 100.0)
    assert states == {"laptop": ConnectedVia(US1), "phone": NotAnswering(EU1)}
    assert paths.peer_states(RTTS.__getitem__, 115.0)["phone"] == ConnectedVia(EU1)


@pytest.mark.parametrize(
    ("relays", "theirs", "state"),
    [
        ((), ("eu1",), NoRelayUp()),
        ((), (), NoRelayUp()),
        (("us1", "ap1"), ("eu1",), NoCommonRelay(ours=("ap1", "us1"), theirs=("eu1",))),
        (("eu1",), (), NoCommonRelay(ours=("eu1",), theirs=())),
    ],
)
def test_a_peer_without_a_path_says_why(
    relays: tuple[str, ...], theirs: tuple[str, ...], state: NoRelayUp | NoCommonRelay
) -> None:
    paths = paths_up(peer("laptop", *theirs), relays=relays)
    assert paths.peer_states(RTTS.__getitem__, 0.0) == {"laptop": state}


def test_a_remote_peer_that_says_nothing_of_itself_has_no_path() -> None:
    paths = paths_up(RemotePeer(id="odd"), peer("laptop", "eu1"), relays=("eu1",))
    assert paths.peer_states(RTTS.__getitem__, 0.0) == {
        "odd": NoCommonRelay(ours=("eu1",), theirs=()),
        "laptop": ConnectedVia(EU1),
    }


def test_a_peer_that_is_no_longer_listed_has_no_state() -> None:
    paths = paths_up(peer("laptop", "eu1"), peer("phone", "eu1"))
    paths.handle_peers([peer("phone", "eu1")])
    assert list(paths.peer_states(RTTS.__getitem__, 0.0)) == ["phone"]


def test_only_a_relay_is_not_direct() -> None:
    assert [kind for kind in PathKind if kind.is_direct] == [PathKind.INCOMING, PathKind.OUTGOING]


OUT = Path(PathKind.OUTGOING, "laptop")
IN = Path(PathKind.INCOMING, "laptop")


def test_direct_paths_come_before_relays_however_slow_they_are() -> None:
    paths = paths_up(peer("laptop", "eu1"))
    paths.handle_direct_up(OUT)
    paths.handle_direct_up(IN)
    rtts = {**RTTS, OUT: 0.500, IN: 0.400}
    assert paths.candidates(rtts.__getitem__, 0.0) == [IN, OUT, EU1]
    assert paths.peer_states(rtts.__getitem__, 0.0) == {"laptop": ConnectedVia(IN)}


def test_a_direct_path_that_does_not_answer_comes_after_the_relay_until_the_probe() -> None:
    paths = paths_up(peer("laptop", "eu1"))
    paths.handle_direct_up(OUT)
    rtts = {**RTTS, OUT: 0.001}
    paths.handle_no_answer(OUT, 100.0)
    assert paths.candidates(rtts.__getitem__, 101.0) == [EU1, OUT]
    assert paths.peer_states(rtts.__getitem__, 101.0) == {"laptop": ConnectedVia(EU1)}
    assert paths.next_deadline() == 115.0
    assert paths.candidates(rtts.__getitem__, 115.0) == [OUT, EU1]


def test_a_direct_connection_made_anew_is_not_suspect() -> None:
    paths = paths_up(peer("laptop", "eu1"))
    paths.handle_direct_up(OUT)
    paths.handle_no_answer(OUT, 100.0)
    paths.handle_direct_down(OUT)
    paths.handle_direct_up(OUT)
    assert paths.candidates({**RTTS, OUT: 0.001}.__getitem__, 101.0) == [OUT, EU1]


def test_a_direct_path_leads_to_its_own_peer_only() -> None:
    paths = paths_up(peer("laptop"), peer("phone", "eu1"))
    paths.handle_direct_up(OUT)
    states = paths.peer_states({**RTTS, OUT: 0.001}.__getitem__, 0.0)
    assert states == {"laptop": ConnectedVia(OUT), "phone": ConnectedVia(EU1)}


def test_who_is_missing_from_the_first_list_of_a_session_is_kept_for_the_expiry_time() -> None:
    paths = Paths(keep_seconds=30.0)
    paths.handle_relay_up("eu1")
    paths.handle_first_peers([peer("laptop", "eu1"), peer("phone")], 0.0)
    paths.handle_direct_up(OUT)
    paths.handle_first_peers([peer("phone")], 100.0)
    assert set(paths.peers) == {"laptop", "phone"}
    assert paths.active() == {OUT, EU1}
    assert paths.next_deadline() == 130.0
    paths.handle_timer(129.9)
    assert paths.active() == {OUT, EU1}
    paths.handle_timer(130.0)
    assert set(paths.peers) == {"phone"}
    assert paths.active() == frozenset()
    assert paths.next_deadline() == math.inf


def test_who_is_missing_from_a_later_list_has_left() -> None:
    paths = Paths()
    paths.handle_first_peers([], 0.0)
    paths.handle_peers([peer("laptop", "eu1")])
    paths.handle_peers([])
    assert paths.peers == {}


def test_later_lists_without_a_kept_peer_do_not_end_its_time_and_do_not_prolong_it() -> None:
    paths = Paths(keep_seconds=30.0)
    paths.handle_first_peers([peer("laptop")], 0.0)
    paths.handle_first_peers([], 100.0)
    paths.handle_peers([peer("phone")])
    assert set(paths.peers) == {"laptop", "phone"}
    paths.handle_first_peers([peer("phone")], 120.0)
    paths.handle_timer(130.0)
    assert set(paths.peers) == {"phone"}


def test_a_kept_peer_that_is_listed_again_is_one_like_any_other() -> None:
    paths = Paths(keep_seconds=30.0)
    paths.handle_first_peers([peer("laptop", "eu1")], 0.0)
    paths.handle_first_peers([], 100.0)
    paths.handle_peers([peer("laptop", "us1")])
    assert paths.peers == {"laptop": peer("laptop", "us1")}
    assert paths.next_deadline() == math.inf
    paths.handle_peers([])
    assert paths.peers == {}


def certified(client_id: str, certificates: bytes) -> RemotePeer:
    peer = Peer(server_certificate=b"server " + certificates, client_certificate=b"client " + certificates)
    return RemotePeer(id=client_id, peer=peer)


def test_a_kept_peer_that_comes_back_under_another_id_is_known_by_its_certificates() -> None:
    paths = Paths(keep_seconds=30.0)
    paths.handle_peers([certified("laptop", b"1"), certified("phone", b"2")])
    # control has lost its store: it gives everybody a new id
    assert paths.handle_first_peers([certified("k3r", b"2")], now=100.0) == {"phone": "k3r"}
    assert set(paths.peers) == {"laptop", "k3r"}
    assert paths.handle_peers([certified("k3r", b"2"), certified("8cd", b"1")]) == {"laptop": "8cd"}
    assert set(paths.peers) == {"k3r", "8cd"}
    assert paths.next_deadline() == math.inf


def test_a_peer_is_another_one_if_one_of_its_certificates_is() -> None:
    paths = Paths(keep_seconds=30.0)
    paths.handle_peers([certified("laptop", b"1")])
    known = certified("laptop", b"1").peer
    assert known is not None
    other = RemotePeer(id="k3r", peer=Peer(server_certificate=known.server_certificate, client_certificate=b"client 2"))
    assert paths.handle_first_peers([other], now=100.0) == {}
    assert set(paths.peers) == {"laptop", "k3r"}


def test_peers_that_show_no_certificates_are_not_taken_for_each_other() -> None:
    paths = Paths(keep_seconds=30.0)
    paths.handle_peers([peer("laptop", "eu1")])
    assert paths.handle_first_peers([peer("phone", "eu1"), RemotePeer(id="tablet")], now=100.0) == {}
    assert set(paths.peers) == {"laptop", "phone", "tablet"}
