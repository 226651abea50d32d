"""The addresses of this machine."""

import errno
import logging
import shutil
import subprocess
import sys
from collections.abc import Callable
from ipaddress import ip_address
from typing import NoReturn

import ifaddr
import pytest

from connet_trio.engine import InterfaceAddress
from connet_trio.nat import read_interfaces
from connet_trio.testing.namespaces import namespaces_permitted, open_lan

ETH0 = ifaddr.Adapter(
    "eth0",
    "eth0",
    [
        ifaddr.IP("192.168.1.5", 24, "eth0"),
        ifaddr.IP(("2001:db8::5", 0, 0), 64, "eth0"),
        ifaddr.IP(("fe80::5", 0, 4), 64, "eth0"),
    ],
    index=2,
)


def never_down(interface: str) -> bool:
    return False


def address(text: str, prefix_bits: int, interface: str = "eth0", index: int = 2) -> InterfaceAddress:
    return InterfaceAddress(address=ip_address(text), prefix_bits=prefix_bits, interface=interface, index=index)


def test_each_address_comes_with_its_network_and_the_number_of_its_interface() -> None:
    assert read_interfaces(lambda: [ETH0], never_down) == (
        address("192.168.1.5", 24),
        address("2001:db8::5", 64),
        address("fe80::5", 64, index=4),  # the zone, where there is one
    )


def test_an_interface_without_a_number_has_number_zero() -> None:
    tunnel = ifaddr.Adapter("tun0", "tun0", [ifaddr.IP("10.8.0.2", 32, "tun0")])
    assert read_interfaces(lambda: [tunnel], never_down) == (address("10.8.0.2", 32, "tun0", 0),)


def test_an_entry_that_is_no_address_is_left_out_and_a_zone_in_the_text_is_not_part_of_it() -> None:
    odd = ifaddr.Adapter(
        "odd0",
        "odd0",
        [ifaddr.IP("not an address", 24, "odd0"), ifaddr.IP(("fe80::7%odd0", 0, 9), 64, "odd0")],
        index=8,
    )
    assert read_interfaces(lambda: [odd, ETH0], never_down)[:2] == (
        address("fe80::7", 64, "odd0", 9),
        address("192.168.1.5", 24),
    )


def test_an_interface_that_is_down_has_no_addresses() -> None:
    tunnel = ifaddr.Adapter("tun0", "tun0", [ifaddr.IP("10.8.0.2", 32, "tun0")], index=3)
    found = read_interfaces(lambda: [ETH0, tunnel], lambda interface: interface == "eth0")
    assert found == (address("10.8.0.2", 32, "tun0", 3),)


def _raising(error: Exception) -> Callable[[], NoReturn]:
    def fail() -> NoReturn:
        raise error

    return fail


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.EMFILE, "too many open files"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "an interface's name"),
        AssertionError("sockaddr_to_ip(None) returned None"),
        TypeError("no netmask, and no assertions"),
    ],
)
def test_a_list_that_cannot_be_read_is_empty_and_says_so_to_those_who_debug(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    assert read_interfaces(_raising(error), never_down) == ()
    (record,) = caplog.records
    assert record.levelno == logging.DEBUG
    assert "cannot be read" in record.getMessage()


def test_this_machine_has_a_loopback_interface() -> None:
    found = {str(each.address): each for each in read_interfaces()}
    assert found["127.0.0.1"].prefix_bits == 8
    if sys.platform == "linux":
        assert found["127.0.0.1"].interface == "lo"


SWITCH_OFF = """
import subprocess
from connet_trio.nat import read_interfaces
def show():
    print(*sorted(str(each.address) for each in read_interfaces() if not each.address.is_link_local))
show()
subprocess.run(["ip", "link", "set", "eth0", "down"], check=True)
show()
"""


@pytest.mark.needs_netns
@pytest.mark.skipif(not namespaces_permitted() or shutil.which("ip") is None, reason="needs root and iproute2")
def test_an_uplink_that_is_switched_off_takes_its_ipv4_address_with_it() -> None:
    with open_lan({"d": "10.77.4.2"}) as lan:
        command = lan.command("d", [sys.executable, "-c", SWITCH_OFF])
        shown = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    assert shown == ["10.77.4.2 127.0.0.1 ::1", "127.0.0.1 ::1"]
