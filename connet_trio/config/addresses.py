"""Addresses and URLs as a configuration writes them; each function as in `values`."""

import re
from collections.abc import Callable
from ipaddress import IPv6Address

import attrs

from connet_trio.config.values import text
from connet_trio.records.model import HostPort

_LATER_SCHEMES = ("tls", "http", "https", "file", "ws", "wss")


def listen_address(raw: object) -> HostPort:
    """`[host]:port` to listen on; an empty host means all addresses, port 0 any free one."""
    expected = "[host]:port, such as :19190, 127.0.0.1:19190 or [::1]:19190"
    host, port = _split_address(text(raw, expected), expected)
    if port is None:
        raise ValueError(f'"{raw}" has no port, expected {expected}')
    return HostPort(host, port)


def dial_address(default_port: int | None = None) -> Callable[[object], HostPort]:
    """A parser of `host[:port]` to dial; without a default port the port is required."""
    expected = "host:port, such as example.com:19190 or [::1]:19190"

    def parse(raw: object) -> HostPort:
        host, port = _split_address(text(raw, expected), expected)
        if not host:
            raise ValueError(f'"{raw}" has no host, expected {expected}')
        if port is None and default_port is None:
            raise ValueError(f'"{raw}" has no port, expected {expected}')
        if port == 0:
            raise ValueError(f'"{raw}" cannot be dialled: its port is 0, expected {expected}')
        return HostPort(host, port or default_port or 0)

    return parse


def advertised_address(raw: object) -> HostPort:
    """`host[:port]` as clients are to dial it; an empty host or port 0 stands for what the listening address has."""
    expected = "host or host:port, such as example.com, example.com:19191 or [::1]:19191"
    host, port = _split_address(text(raw, expected), expected)
    if not host and port is None:
        raise ValueError(f"is empty, expected {expected}")
    return HostPort(host, port or 0)


def destination_url(raw: object) -> HostPort:
    """What a destination dials, from `tcp://host:port`; an empty host is this machine."""
    address = _tcp_url(raw)
    if address.port == 0:
        raise ValueError(f'"{raw}" cannot be dialled: its port is 0, expected tcp://host:port')
    return attrs.evolve(address, host=address.host or "localhost")


def source_url(raw: object) -> HostPort:
    """Where a source listens, from `tcp://host:port`; an empty host means all addresses, port 0 any free one."""
    return _tcp_url(raw)


def _split_address(written: str, expected: str) -> tuple[str, int | None]:
    """Host (without brackets) and port; None for no port."""
    if _is_ipv6(written):
        return written, None
    if written.startswith("["):
        host, bracket, rest = written[1:].partition("]")
        valid = bool(bracket) and _is_ipv6(host) and (not rest or rest.startswith(":"))
        has_port, port = bool(rest), rest[1:]
    else:
        host, colon, port = written.partition(":")
        valid = not re.search(r"[\s/?#@\[\]]", host)
        has_port = bool(colon)
    if not valid or (has_port and not _is_port(port)):
        raise ValueError(f'"{written}" is not an address, expected {expected}')
    return host, int(port) if has_port else None


def _is_ipv6(host: str) -> bool:
    try:
        IPv6Address(host)
    except ValueError:
        return False
    return True


def _is_port(port: str) -> bool:
    return re.fullmatch(r"\d{1,5}", port, re.ASCII) is not None and int(port) <= 65_535


def _tcp_url(raw: object) -> HostPort:
    expected = "tcp://host:port"
    written = text(raw, expected)
    scheme, separator, address = written.partition(":")
    if scheme in _LATER_SCHEMES:
        raise ValueError(f'"{scheme}" is not supported in this release, tcp is, expected {expected}')
    if "@" in written:
        raise ValueError(f"has a user name, expected {expected}")  # and perhaps a password, so it is not quoted
    if scheme != "tcp" or not separator or not address.startswith("//"):
        hint = f", perhaps tcp://{written}" if "://" not in written else ""
        raise ValueError(f'"{written}" is not a tcp URL, expected {expected}{hint}')
    try:
        host, port = _split_address(address[2:], expected)
    except ValueError:
        raise ValueError(f'"{written}" is not a tcp URL, expected {expected}') from None
    if port is None:
        raise ValueError(f'"{written}" has no port, expected {expected}')
    return HostPort(host, port)
