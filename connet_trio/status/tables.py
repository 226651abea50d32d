"""A status page as tables for people. Pages of the original say less, and leave cells empty."""

from collections.abc import Mapping, Sequence

from connet_trio.records.text import short_id
from connet_trio.status.columns import columns
from connet_trio.status.json_object import JsonObject
from connet_trio.status.units import age, byte_count, milliseconds

Lines = list[str]


def status_lines(page: Mapping[str, object], wall_now: float) -> Lines:
    """The lines to show, without line ends.

    Args:
      page: the object of a status page, from whomever.
      wall_now: Unix seconds.
    """
    shown = JsonObject(page)
    if "control" in page and "relay" in page:
        return [*_control(shown.object("control")), "", *_relay(shown.object("relay"))]
    if "relay-server-id" in page:
        return _control(shown)
    if "server-id" in page:
        return _relay(shown)
    return _client(shown, wall_now)


def _client(page: JsonObject, wall_now: float) -> Lines:
    facts = {
        "server": page.text("server-address"),
        "metadata": page.text("metadata"),
        "direct address": page.text("direct-address"),
        "local addresses": ", ".join(page.texts("local-addresses")),
        "seen by control as": ", ".join(page.texts("stun-addresses")),
        "forwarded by gateway": ", ".join(page.texts("natpmp-addresses")),
    }
    endpoints: list[Sequence[str]] = []
    peers: list[Sequence[str]] = []
    for role in ("destination", "source"):
        for name, endpoint in page.named(f"{role}s"):
            relays = endpoint.objects("relays")
            connected = sum(bool(relay.text("connection")) for relay in relays)
            endpoints.append(
                (
                    name,
                    role,
                    endpoint.text("status"),
                    str(len(endpoint.objects("peers"))),
                    f"{connected} of {len(relays)}",
                    byte_count(endpoint.number("bytes-in")),
                    byte_count(endpoint.number("bytes-out")),
                )
            )
            peers += [(name, role, *_peer(peer, wall_now)) for peer in endpoint.objects("peers")]
    return [
        *_head("client", page, facts),
        *_table("ENDPOINT  ROLE  STATUS  PEERS  RELAYS  IN  OUT", endpoints),
        *_table("PEERS OF  ROLE  ID  METADATA  PATH  ADDRESS  RTT  FOR  WHY NOT BETTER", peers),
    ]


def _peer(peer: JsonObject, wall_now: float) -> tuple[str, ...]:
    """Its selected path; every path of a page that does not say which is selected."""
    connections = peer.objects("connections")
    path, relay = peer.text("path"), peer.text("relay-id")
    selected = [each for each in connections if (each.text("style"), each.text("relay-id")) == (path, relay)]
    if not path and "path" not in peer.members:
        selected = connections
    styles = [each.text("style") for each in selected] or [path or "none"]
    addresses = [each.text("address") for each in selected]
    since = peer.number("since")
    return (
        short_id(peer.text("id")),
        peer.text("metadata"),
        " ".join(dict.fromkeys(styles)),
        " ".join(dict.fromkeys(addresses)),
        milliseconds(peer.number("rtt-ms")),
        "" if since is None else age(wall_now - since),
        peer.text("why"),
    )


def _control(page: JsonObject) -> Lines:
    ingresses = [
        (
            whose,
            ingress.text("address"),
            ", ".join(ingress.object("restrictions").texts("allows")) or "all",
            ", ".join(ingress.object("restrictions").texts("denies")) or "none",
        )
        for whose in ("client", "relay")
        for ingress in page.objects(f"{whose}-ingresses")
    ]
    clients = [
        (short_id(client.text("id")), client.text("address"), client.text("metadata"))
        for client in page.objects("clients")
    ]
    endpoints = [
        (name, *(_ids(endpoint.objects(roles), "id") for roles in ("destinations", "sources")))
        for name, endpoint in page.named("endpoints")
    ]
    relays = [
        (short_id(relay.text("id")), ", ".join(relay.texts("hostport")), relay.text("metadata"))
        for relay in page.objects("relays")
    ]
    return [
        *_head("control", page, {"id": page.text("relay-server-id")}),
        *_table("LISTENS FOR  ADDRESS  ALLOWED  DENIED", ingresses),
        *_table("CLIENT  ADDRESS  METADATA", clients),
        *_table("ENDPOINT  DESTINATIONS  SOURCES", endpoints),
        *_table("RELAY  ADDRESSES  METADATA", relays),
    ]


def _relay(page: JsonObject) -> Lines:
    streams = [page.number(key) for key in ("streams", "streams-total")]
    facts = {
        "control": page.text("server-address"),
        "control id": page.text("server-id"),
        "addresses": ", ".join(page.texts("hostports")),
        "streams": "" if None in streams else f"{streams[0]:.0f} now, {streams[1]:.0f} since the start",
        "carried": byte_count(page.number("bytes-forwarded")),
    }
    endpoints = [
        (name, *(_ids(endpoint.objects(roles), "key") for roles in ("destinations", "sources")))
        for name, endpoint in page.named("endpoints")
    ]
    return [*_head("relay", page, facts), *_table("ENDPOINT  DESTINATIONS  SOURCES", endpoints)]


def _ids(objects: Sequence[JsonObject], key: str) -> str:
    """Who they are, and what they say about themselves."""
    named = [f"{short_id(each.text(key))} {each.text('metadata')}".rstrip() for each in objects]
    return ", ".join(named)


def _head(kind: str, page: JsonObject, facts: Mapping[str, str]) -> Lines:
    errors = page.number("handler-errors")
    known = {
        "version": page.text("build-version"),
        **facts,
        "last error": page.text("last-error"),
        "errors of its own": f"{errors:.0f}" if errors else "",
    }
    title = f"{kind} {page.text('status')}".rstrip()
    return [title, *columns([(f"  {name}", text) for name, text in known.items() if text])]


def _table(headers: str, rows: Sequence[Sequence[str]]) -> Lines:
    """Nothing for no rows. `headers` has two spaces between those of two columns."""
    return ["", *columns([headers.split("  "), *rows])] if rows else []
