"""The addresses of this machine, as its operating system lists them."""

import logging
from collections.abc import Callable, Iterable
from ipaddress import ip_address

import ifaddr

from connet_trio.engine import InterfaceAddress
from connet_trio.nat.link_state import is_down

logger = logging.getLogger(__name__)

# ifaddr passes on what the system call says (OSError), cannot read every name and netmask (ValueError), and takes it
# for granted that there is a netmask (AssertionError, under python -O a TypeError)
_UNREADABLE = (OSError, ValueError, AssertionError, TypeError)


def read_interfaces(
    get_adapters: Callable[[], Iterable[ifaddr.Adapter]] = ifaddr.get_adapters,
    is_down: Callable[[str], bool] = is_down,
) -> tuple[InterfaceAddress, ...]:
    """Every address of every interface that is up, in the system's order; empty when it cannot be read.

    A fraction of a millisecond on an ordinary machine, so it is called where it is needed and not in a thread.
    """
    try:
        adapters = list(get_adapters())
    except _UNREADABLE as exc:
        logger.debug("the list of network interfaces cannot be read: %s", exc)
        return ()
    # Linux lists IPv4 addresses of interfaces that are down, and sends nothing from them
    return tuple(
        address
        for adapter in adapters
        if not is_down(adapter.name)
        for entry in adapter.ips
        for address in _interface_address(adapter, entry)
    )


def _interface_address(adapter: ifaddr.Adapter, entry: ifaddr.IP) -> tuple[InterfaceAddress, ...]:
    """One entry of the list; none when it is not an address."""
    text, _flow, zone = entry.ip if isinstance(entry.ip, tuple) else (entry.ip, 0, 0)
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        logger.debug("the network interface %r has an address that cannot be read: %r", adapter.name, text)
        return ()
    # Windows numbers an interface differently in each family; the zone is the number that IPv6 means
    index = zone or adapter.index or 0
    return (InterfaceAddress(address=address, prefix_bits=entry.network_prefix, interface=adapter.name, index=index),)
