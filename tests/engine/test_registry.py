"""Who announces what, and until when: by hand, and against a model too simple to be wrong."""

import math

import attrs
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from connet_trio.engine.registry import ClientConnection, PeersChanged, Registry
from connet_trio.records.control import Peer, Peers, RemotePeer
from connet_trio.records.model import Role

LAPTOP = ClientConnection("laptop", "conn-1")
LAPTOP_AGAIN = ClientConnection("laptop", "conn-2")
PHONE = ClientConnection("phone", "conn-3")
DB_OFFERS = PeersChanged("db", Role.DESTINATION)


def peer_on(*relay_ids: str) -> Peer:
    return Peer(relay_ids=relay_ids)


def remote(client_id: str, peer: Peer, metadata: str = "") -> RemotePeer:
    return RemotePeer(id=client_id, peer=peer, metadata=metadata)


def announce(registry: Registry, connection: ClientConnection, peer: Peer) -> list[PeersChanged]:
    return registry.handle_announce(connection, "db", Role.DESTINATION, peer, "")


def offers(registry: Registry) -> list[RemotePeer]:
    return list(registry.peers("db", Role.SOURCE).peers)


def test_an_endpoint_is_listed_to_the_opposite_role_of_its_name_only() -> None:
    registry = Registry(expiry_seconds=30.0)
    assert registry.handle_announce(LAPTOP, "db", Role.DESTINATION, peer_on("eu1"), "dc=eu") == [DB_OFFERS]
    assert registry.peers("db", Role.SOURCE) == Peers(peers=(remote("laptop", peer_on("eu1"), "dc=eu"),))
    assert registry.peers("db", Role.DESTINATION) == Peers()
    assert registry.peers("DB", Role.SOURCE) == Peers()


def test_a_client_with_both_roles_sees_itself() -> None:
    registry = Registry(expiry_seconds=30.0)
    announce(registry, LAPTOP, peer_on("eu1"))
    changes = registry.handle_announce(LAPTOP, "db", Role.SOURCE, peer_on("us1"), "")
    assert changes == [PeersChanged("db", Role.SOURCE)]
    assert registry.peers("db", Role.SOURCE) == Peers(peers=(remote("laptop", peer_on("eu1")),))
    assert registry.peers("db", Role.DESTINATION) == Peers(peers=(remote("laptop", peer_on("us1")),))


def test_only_a_different_announcement_is_a_change() -> None:
    registry = Registry(expiry_seconds=30.0)
    announce(registry, LAPTOP, peer_on("eu1"))
    assert announce(registry, LAPTOP, peer_on("eu1")) == []
    assert announce(registry, LAPTOP, peer_on("eu1", "us1")) == [DB_OFFERS]
    assert offers(registry) == [remote("laptop", peer_on("eu1", "us1"))]
    assert registry.handle_announce(LAPTOP, "db", Role.DESTINATION, peer_on("eu1", "us1"), "new") == [DB_OFFERS]


def test_the_order_of_a_list_does_not_depend_on_the_order_of_announcements() -> None:
    registry = Registry(expiry_seconds=30.0)
    announce(registry, PHONE, peer_on())
    announce(registry, LAPTOP, peer_on())
    assert [peer.id for peer in offers(registry)] == ["laptop", "phone"]


def test_a_withdrawn_endpoint_is_gone_at_once() -> None:
    registry = Registry(expiry_seconds=30.0)
    announce(registry, LAPTOP, peer_on())
    assert registry.handle_withdraw(LAPTOP, "db", Role.DESTINATION) == [DB_OFFERS]
    assert offers(registry) == []
    assert registry.handle_withdraw(LAPTOP, "db", Role.DESTINATION) == []
    assert registry.handle_disconnect(LAPTOP, now=1.0) == []
    assert registry.next_deadline() == math.inf


def test_an_endpoint_outlives_its_connection_by_the_expiry() -> None:
    registry = Registry(expiry_seconds=30.0)
    announce(registry, LAPTOP, peer_on("eu1"))
    assert registry.next_deadline() == math.inf
    assert registry.handle_disconnect(LAPTOP, now=100.0) == []
    assert registry.next_deadline() == 130.0
    assert offers(registry) == [remote("laptop", peer_on("eu1"))]
    assert registry.handle_timer(now=129.9) == []
    assert registry.handle_timer(now=130.0) == [DB_OFFERS]
    assert offers(registry) == []
    assert registry.next_deadline() == math.inf


def test_without_expiry_an_endpoint_ends_with_its_connection() -> None:
    registry = Registry(expiry_seconds=None)
    announce(registry, LAPTOP, peer_on())
    registry.handle_announce(LAPTOP, "web", Role.SOURCE, peer_on(), "")
    assert registry.handle_disconnect(LAPTOP, now=100.0) == [DB_OFFERS, PeersChanged("web", Role.SOURCE)]
    assert registry.entries() == []
    assert registry.next_deadline() == math.inf


def test_an_announce_stream_that_ends_with_its_connection_does_not_shorten_the_expiry() -> None:
    registry = Registry(expiry_seconds=30.0)
    announce(registry, LAPTOP, peer_on())
    registry.handle_disconnect(LAPTOP, now=100.0)
    assert registry.handle_withdraw(LAPTOP, "db", Role.DESTINATION) == []
    assert len(offers(registry)) == 1


def test_a_second_report_of_one_disconnect_does_not_lengthen_the_expiry() -> None:
    registry = Registry(expiry_seconds=30.0)
    announce(registry, LAPTOP, peer_on())
    registry.handle_disconnect(LAPTOP, now=100.0)
    registry.handle_disconnect(LAPTOP, now=120.0)
    assert registry.next_deadline() == 130.0


def test_a_client_that_comes_back_is_listed_once_with_its_latest_announcement() -> None:
    registry = Registry(expiry_seconds=30.0)
    announce(registry, LAPTOP, peer_on("eu1"))
    registry.handle_disconnect(LAPTOP, now=100.0)
    assert announce(registry, LAPTOP_AGAIN, peer_on("us1")) == [DB_OFFERS]
    assert offers(registry) == [remote("laptop", peer_on("us1"))]
    assert registry.handle_timer(now=130.0) == []
    assert offers(registry) == [remote("laptop", peer_on("us1"))]


def test_a_client_that_comes_back_saying_the_same_is_no_change() -> None:
    registry = Registry(expiry_seconds=30.0)
    announce(registry, LAPTOP, peer_on("eu1"))
    registry.handle_disconnect(LAPTOP, now=100.0)
    assert announce(registry, LAPTOP_AGAIN, peer_on("eu1")) == []
    assert registry.next_deadline() == math.inf


def test_the_end_of_an_old_connection_is_no_change_once_a_newer_one_has_announced() -> None:
    registry = Registry(expiry_seconds=30.0)
    announce(registry, LAPTOP, peer_on("eu1"))
    announce(registry, LAPTOP_AGAIN, peer_on("us1"))
    assert announce(registry, LAPTOP, peer_on("eu2")) == []
    assert registry.handle_disconnect(LAPTOP, now=100.0) == []
    assert offers(registry) == [remote("laptop", peer_on("us1"))]


def test_a_clean_stop_does_not_uncover_what_an_earlier_connection_announced() -> None:
    registry = Registry(expiry_seconds=30.0)
    announce(registry, LAPTOP, peer_on("eu1"))
    registry.handle_disconnect(LAPTOP, now=100.0)
    announce(registry, LAPTOP_AGAIN, peer_on("us1"))
    assert registry.handle_withdraw(LAPTOP_AGAIN, "db", Role.DESTINATION) == [DB_OFFERS]
    assert offers(registry) == []


def test_of_two_live_connections_of_one_client_the_older_shows_when_the_newer_withdraws() -> None:
    registry = Registry(expiry_seconds=30.0)
    announce(registry, LAPTOP, peer_on("eu1"))
    announce(registry, LAPTOP_AGAIN, peer_on("us1"))
    assert registry.handle_withdraw(LAPTOP_AGAIN, "db", Role.DESTINATION) == [DB_OFFERS]
    assert offers(registry) == [remote("laptop", peer_on("eu1"))]


def test_endpoints_that_expire_together_are_one_change_of_their_list() -> None:
    registry = Registry(expiry_seconds=30.0)
    announce(registry, LAPTOP, peer_on())
    announce(registry, PHONE, peer_on())
    registry.handle_disconnect(LAPTOP, now=100.0)
    registry.handle_disconnect(PHONE, now=101.0)
    assert registry.next_deadline() == 130.0
    assert registry.handle_timer(now=200.0) == [DB_OFFERS]
    assert offers(registry) == []


def test_a_list_that_looks_the_same_after_several_expiries_is_no_change() -> None:
    registry = Registry(expiry_seconds=30.0)
    first, second, third = (ClientConnection("laptop", f"conn-{number}") for number in (1, 2, 3))
    for connection, relay_id in ((first, "eu1"), (second, "us1"), (third, "eu1")):
        announce(registry, connection, peer_on(relay_id))
    registry.handle_disconnect(third, now=100.0)
    registry.handle_disconnect(second, now=101.0)
    assert registry.handle_timer(now=131.0) == []
    assert offers(registry) == [remote("laptop", peer_on("eu1"))]


def test_a_thousand_abandoned_logins_of_one_client_leave_one_announcement() -> None:
    registry = Registry(expiry_seconds=30.0)
    for login in range(1000):
        connection = ClientConnection("laptop", f"conn-{login:04}")
        announce(registry, connection, peer_on())
        registry.handle_disconnect(connection, now=100.0)
    assert [entry.connection.connection_id for entry in registry.entries()] == ["conn-0999"]
    assert registry.handle_timer(now=130.0) == [DB_OFFERS]
    assert registry.next_deadline() == math.inf


def test_entries_show_every_announcement_with_its_connection_and_expiry() -> None:
    registry = Registry(expiry_seconds=30.0)
    registry.handle_announce(PHONE, "web", Role.SOURCE, peer_on(), "")
    announce(registry, LAPTOP_AGAIN, peer_on())
    announce(registry, LAPTOP, peer_on())
    registry.handle_disconnect(PHONE, now=100.0)
    shown = [(entry.endpoint, entry.role, entry.connection, entry.expires_at) for entry in registry.entries()]
    assert shown == [
        ("db", Role.DESTINATION, LAPTOP, None),
        ("db", Role.DESTINATION, LAPTOP_AGAIN, None),
        ("web", Role.SOURCE, PHONE, 130.0),
    ]


@attrs.define
class Said:
    """The model's announcement: one row of a plain list."""

    connection: ClientConnection
    endpoint: str
    role: Role
    peer: Peer
    expires_at: float | None = None


EXPIRY = 30.0
CLIENTS = st.sampled_from(["a", "b"])
ENDPOINTS = st.sampled_from(["db", "web"])
ROLES = st.sampled_from([Role.DESTINATION, Role.SOURCE])
PEERS = st.sampled_from([peer_on(), peer_on("eu1"), peer_on("us1")])
GROUPS = [(endpoint, role) for endpoint in ("db", "web") for role in (Role.DESTINATION, Role.SOURCE)]
Lists = dict[tuple[str, Role], tuple[RemotePeer, ...]]


class RegistryAgainstAModel(RuleBasedStateMachine):
    """Any history: lists are what a scan of all rows gives, and exactly the lists that differ are named."""

    def __init__(self) -> None:
        super().__init__()
        self.registry = Registry(expiry_seconds=EXPIRY)
        self.rows: list[Said] = []
        self.live: list[ClientConnection] = []
        self.connections = 0
        self.now = 0.0

    @rule(client=CLIENTS)
    def connect(self, client: str) -> None:
        self.connections += 1
        self.live.append(ClientConnection(client, f"{self.connections:04}"))

    @rule(data=st.data(), endpoint=ENDPOINTS, role=ROLES, peer=PEERS)
    def announce(self, data: st.DataObject, endpoint: str, role: Role, peer: Peer) -> None:
        if not self.live:
            return
        connection = data.draw(st.sampled_from(self.live))
        before = self.lists()
        self.rows = [
            row for row in self.rows if (row.connection, row.endpoint, row.role) != (connection, endpoint, role)
        ]
        self.rows.append(Said(connection, endpoint, role, peer))
        self.check(before, self.registry.handle_announce(connection, endpoint, role, peer, ""))

    @rule(data=st.data(), endpoint=ENDPOINTS, role=ROLES)
    def withdraw(self, data: st.DataObject, endpoint: str, role: Role) -> None:
        if not self.live:
            return
        connection = data.draw(st.sampled_from(self.live))
        before = self.lists()
        self.rows = [
            row for row in self.rows if (row.connection, row.endpoint, row.role) != (connection, endpoint, role)
        ]
        self.check(before, self.registry.handle_withdraw(connection, endpoint, role))

    @rule(data=st.data())
    def disconnect(self, data: st.DataObject) -> None:
        if not self.live:
            return
        connection = data.draw(st.sampled_from(self.live))
        before = self.lists()
        self.live.remove(connection)
        for row in self.rows:
            if row.connection == connection:
                row.expires_at = self.now + EXPIRY
        self.check(before, self.registry.handle_disconnect(connection, self.now))

    @rule(seconds=st.sampled_from([1.0, 10.0, 30.0]))
    def wait(self, seconds: float) -> None:
        before = self.lists()
        self.now += seconds
        self.rows = [row for row in self.rows if row.expires_at is None or row.expires_at > self.now]
        changes = self.registry.handle_timer(self.now)
        assert len(changes) == len(set(changes))
        self.check(before, changes)

    def check(self, before: Lists, changes: list[PeersChanged]) -> None:
        self.rows = [row for row in self.rows if not (row.expires_at is not None and self.is_superseded(row))]
        after = self.lists()
        assert set(changes) == {PeersChanged(*group) for group in GROUPS if before[group] != after[group]}

    def is_superseded(self, row: Said) -> bool:
        return any(
            other.expires_at is None
            and (other.endpoint, other.role) == (row.endpoint, row.role)
            and other.connection.client_id == row.connection.client_id
            and other.connection.connection_id > row.connection.connection_id
            for other in self.rows
        )

    def lists(self) -> Lists:
        lists: Lists = {}
        for group in GROUPS:
            by_age = sorted(
                (row for row in self.rows if (row.endpoint, row.role) == group),
                key=lambda row: row.connection.connection_id,
            )
            latest = {row.connection.client_id: row.peer for row in by_age}
            lists[group] = tuple(remote(client_id, peer) for client_id, peer in sorted(latest.items()))
        return lists

    @invariant()
    def the_lists_are_those_of_the_model(self) -> None:
        for (endpoint, role), listed in self.lists().items():
            assert self.registry.peers(endpoint, role.opposite).peers == listed

    @invariant()
    def the_next_deadline_is_the_earliest_expiry(self) -> None:
        expiries = [row.expires_at for row in self.rows if row.expires_at is not None]
        assert self.registry.next_deadline() == min(expiries, default=math.inf)
        assert len(self.registry.entries()) == len(self.rows)


TestRegistryAgainstAModel = RegistryAgainstAModel.TestCase
TestRegistryAgainstAModel.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
