"""What is true again once nothing is wrong any more, whatever happened before; each check says what is not.

| bound | what has to be true by then |
| --- | --- |
| `CONNECTED_SECONDS` | every source reaches every destination of its service |
| `NOTICED_SECONDS` | whoever dials gets a stream that arrives whole, at the first attempt |
| `DIRECT_SECONDS` | those who can reach each other directly do |
| `TALKED_SECONDS` | every stream has come to its end, whole or loudly broken |
| `FORGOTTEN_SECONDS` | nobody knows of anybody who is not there |
"""

import gc
from collections import Counter
from collections.abc import Iterable, Iterator

from connet_trio.endpoints import Endpoint
from connet_trio.quic import Connection, Stream, Transport
from connet_trio.records.model import Role
from connet_trio.records.status import ClientStatus, PathStyle, Status
from connet_trio.testing.chaos.plan import meet
from connet_trio.testing.chaos.world import World

CONNECTED_SECONDS = 75.0
"""The idle timeout (20 s) before a lost session is noticed, then the longest wait between two attempts (15 s) twice,
with an attempt (10 s) each: a relay has to be let in before clients can follow it there."""
NOTICED_SECONDS = 30.0
"""The idle timeout (20 s), and some: by then no dead path is taken for a living one, and every dial works."""
DIRECT_SECONDS = 120.0
"""A peer that did not answer is dialled again after 15 s at most, for 20 s; and its new address, if it has one, has to
come to be known first."""
TALKED_SECONDS = 150.0
"""A slow reader takes half a minute, and a stream may have to share a slow link with ten others."""
FORGOTTEN_SECONDS = 90.0
"""The idle timeout (20 s), the expiry (30 s), and some: whoever was lost last was lost when it had just come back."""

REMAINS: tuple[type, ...] = (Connection, Stream, Transport, Endpoint)
"""Of which nothing may be left when everybody is gone."""


def unconnected(world: World) -> Iterator[str]:
    """Which sources do not have a path to each destination of their service."""
    for service in world.plan.services:
        for name in service.sources:
            running = world.clients[name].running.value
            if running is None:
                yield f"{name} does not run"
                continue
            peers = running.client.status().sources[service.name].peers
            reached = {peer.metadata for peer in peers.values() if peer.path is not None}
            missing = set(service.destinations) - reached
            if missing:
                why = "; ".join(f"{peer.metadata}: {peer.why}" for peer in peers.values() if peer.path is None)
                yield f"{name} has no path to {', '.join(sorted(missing))} for {service.name} ({why or 'not listed'})"


def indirect(world: World) -> Iterator[str]:
    """Which pairs that are sure to meet directly, and may, do not."""
    plan = world.plan
    for service in plan.services:
        for name in service.sources if service.route.allows_direct else ():
            running = world.clients[name].running.value
            peers = {} if running is None else running.client.status().sources[service.name].peers
            direct = {peer.metadata for peer in peers.values() if peer.path not in (None, PathStyle.RELAY)}
            for other in service.destinations:
                if meet(plan.site_of(name), plan.site_of(other)) and other not in direct:
                    why = "; ".join(peer.why for peer in peers.values() if peer.metadata == other)
                    yield f"{name} does not reach {other} directly for {service.name} ({why or 'not listed'})"


def registrations_left(world: World) -> Iterator[str]:
    """How what control, relays and clients know differs from who is there."""
    yield from _control_knowledge(world)
    for name in sorted(world.plan.relays_at_last):
        yield from _relay_knowledge(world, name)
    for name, process in world.clients.items():
        running = process.running.value
        if running is None:
            yield f"{name} does not run"
        else:
            yield from _client_knowledge(world, name, running.client.status())


def _control_knowledge(world: World) -> Iterator[str]:
    control = world.control.running.value
    if control is None:
        yield "control does not run"
        return
    status = control.status()
    yield from _difference(
        "clients at control",
        _count(client.metadata for client in status.clients.values()),
        Counter(list(world.clients)),
    )
    yield from _difference(
        "relays at control",
        _count(relay.metadata for relay in status.relays.values()),
        Counter(world.plan.relays_at_last),
    )
    names = {client.id: client.metadata for client in status.clients.values()}
    announced = Counter[str]()
    for endpoint in status.endpoints.values():
        for role, entries in (("from", endpoint.sources), ("to", endpoint.destinations)):
            announced.update(f"{endpoint.endpoint} {role} {names.get(entry.id, entry.id)}" for entry in entries)
    yield from _difference("endpoints at control", announced, _endpoints(world))
    if status.last_error:
        yield f"control is still troubled: {status.last_error}"
    if status.handler_errors:
        yield f"control has had {status.handler_errors} unexpected errors"


def _endpoints(world: World, *, relayed: bool = False) -> Counter[str]:
    services = [service for service in world.plan.services if not relayed or service.route.allows_relay]
    return Counter(
        f"{service.name} {role} {name}"
        for service in services
        for role, names in (("from", service.sources), ("to", service.destinations))
        for name in names
    )


def _relay_knowledge(world: World, name: str) -> Iterator[str]:
    relay = world.relays[name].running.value
    if relay is None:
        yield f"{name} does not run"
        return
    status = relay.status()
    registered = Counter[str]()
    for endpoint in status.endpoints.values():
        for role, entries in (("from", endpoint.sources), ("to", endpoint.destinations)):
            registered.update(f"{endpoint.endpoint} {role} {entry.metadata}" for entry in entries.values())
    yield from _difference(f"endpoints at {name}", registered, _endpoints(world, relayed=True))
    if status.streams:
        yield f"{name} still forwards {status.streams} streams"
    if status.handler_errors:
        yield f"{name} has had {status.handler_errors} unexpected errors"
    if status.status is not Status.CONNECTED or status.last_error:
        yield f"{name} is {status.status.value} to control: {status.last_error}"


def _client_knowledge(world: World, name: str, status: ClientStatus) -> Iterator[str]:
    if status.status is not Status.CONNECTED:
        yield f"{name} is {status.status.value} to control: {status.last_error}"
    if status.handler_errors:
        yield f"{name} has had {status.handler_errors} unexpected errors"
    for service in world.plan.services:
        for role, endpoints, peers in (
            (Role.SOURCE, status.sources, service.destinations),
            (Role.DESTINATION, status.destinations, service.sources),
        ):
            if service.name in endpoints:
                known = endpoints[service.name].peers.values()
                what = f"peers of {name} as {role.name.lower()} of {service.name}"
                yield from _difference(what, _count(peer.metadata for peer in known), Counter(peers))


def connections_left(world: World) -> Iterator[str]:
    """Connections that nobody uses any more, and streams on any, when all streams are over."""
    live = [thing for thing in gc.get_objects() if isinstance(thing, Connection) and thing.is_established]
    streams, held = sum(connection.stream_count for connection in live), _streams_with_control(world)
    if streams != held:
        yield f"{streams} ends of streams are not over, {held} are accounted for"
    expected = 2 * (len(world.clients) + len(world.plan.relays_at_last))
    for relay in world.plan.relays_at_last:
        running = world.relays[relay].running.value
        if running is not None:
            entries = running.status().endpoints.values()
            expected += 2 * sum(len(entry.sources) + len(entry.destinations) for entry in entries)
    for process in world.clients.values():
        client = process.running.value
        if client is not None:
            status = client.client.status()
            for endpoint in (*status.sources.values(), *status.destinations.values()):
                paths = [path for peer in endpoint.peers.values() for path in peer.connections]
                expected += sum(path.style is not PathStyle.RELAY for path in paths)
    if len(live) != expected:
        yield f"{len(live)} ends of connections are open, {expected} are accounted for"


def memory_left(world: World) -> Iterator[str]:
    """Connections that are over and that somebody still holds: each service may, the last one that it has accepted."""
    gc.collect()
    closed = [thing for thing in gc.get_objects() if isinstance(thing, Connection) and thing.is_closed]
    if len(closed) > len(world.parties):
        yield f"{len(closed)} ends of connections that are over are in memory, one of them {closed[-1].lost}"


def _streams_with_control(world: World) -> int:
    """Ends of those that last: one for each announcement, and one for relays of each endpoint that may use any."""
    return 2 * (_endpoints(world).total() + _endpoints(world, relayed=True).total())


def _count(names: Iterable[str]) -> Counter[str]:
    return Counter(names)


def _difference(what: str, found: Counter[str], expected: Counter[str]) -> Iterator[str]:
    missing, needless = expected - found, found - expected
    if missing:
        yield f"{what}: {', '.join(sorted(missing.elements()))} missing"
    if needless:
        yield f"{what}: {', '.join(sorted(needless.elements()))} left over"


def clients_left(world: World) -> Iterator[str]:
    """What control and relays know when all clients have left."""
    control = world.control.running.value
    if control is not None:
        yield from (f"control knows client {client.metadata}" for client in control.status().clients.values())
        yield from (f"control knows endpoint {name}" for name in control.status().endpoints)
    for name, relay in world.relays.items():
        if relay.running.value is not None:
            yield from (f"{name} knows endpoint {endpoint}" for endpoint in relay.running.value.status().endpoints)


def relays_left(world: World) -> Iterator[str]:
    """What control knows when all relays have left too."""
    control = world.control.running.value
    if control is not None:
        yield from (f"control knows {relay.metadata}" for relay in control.status().relays.values())


def things_left(world: World) -> Iterator[str]:
    """Sockets that are open when everybody is gone."""
    for host in world.network.hosts:
        for opened in host.sockets:
            yield f"{host} still has a socket on {opened.local_address}"


def remains() -> Iterator[str]:
    """Objects of the product that something still holds when a run is over."""
    gc.collect()
    left = Counter(type(thing).__name__ for thing in gc.get_objects() if isinstance(thing, REMAINS))
    if left:
        yield f"still in memory: {', '.join(f'{count} x {name}' for name, count in sorted(left.items()))}"
