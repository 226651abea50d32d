"""The combined server's root: control and one relay, which joins control as any other would, over QUIC on loopback.

server ─┬─ control
        └─ relay, inside control, so that control sees it leave
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import NoReturn

import attrs
import trio

from connet_trio.control import ControlServer, ControlSettings, IngressSettings, open_control
from connet_trio.engine import Restriction
from connet_trio.identity import Credential, Realm, issue_server_credential, needs_renewal, new_name
from connet_trio.quic import Surroundings
from connet_trio.records.model import AddressPort, HostPort
from connet_trio.records.status import ServerStatus
from connet_trio.relay import RelayIngressSettings, RelayServer, RelaySettings, open_relay
from connet_trio.server.settings import ServerSettings

LOOPBACK_V4, LOOPBACK_V6 = IPv4Address("127.0.0.1"), IPv6Address("::1")
# any free port and not 19189: two servers on one host then just work, and no other relay knows where to join
JOINT_PORT = 0


@asynccontextmanager
async def open_server(settings: ServerSettings, *, surroundings: Surroundings | None = None) -> AsyncIterator["Server"]:
    """Run control and a relay for the length of a block, which begins when both work. Leaving it ends both at once.

    Args:
      surroundings: sockets, names, clocks, luck and entropy; the real ones unless given.

    Raises:
      BindFailed: an ingress cannot be listened on.
      DialFailed: the relay's socket does not reach loopback.
      StoreError: a store directory cannot be used.
    """
    world = surroundings or Surroundings()
    joint = _JointCredential(world)
    token = new_name(Realm.CONTROL, world.entropy)
    async with open_control(_control_settings(settings, joint.credential, token), surroundings=world) as control:
        [place] = control.relay_addresses
        roots = partial(joint.roots, control)
        async with open_relay(
            _relay_settings(settings, token, place), surroundings=world, control_roots=roots
        ) as relay:
            yield Server(control, relay)


async def run_server(
    settings: ServerSettings,
    *,
    surroundings: Surroundings | None = None,
    task_status: trio.TaskStatus["Server"] = trio.TASK_STATUS_IGNORED,
) -> NoReturn:
    """Run a server until cancelled; reports started, with the server, once it works. Raises as `open_server`."""
    async with open_server(settings, surroundings=surroundings) as server:
        task_status.started(server)
        await trio.sleep_forever()


@attrs.frozen
class Server:
    """A running server; made by `open_server`."""

    control: ControlServer
    relay: RelayServer

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the operator should know, a sentence each."""
        return self.control.warnings + self.relay.warnings

    def status(self) -> ServerStatus:
        """What both halves do now."""
        return ServerStatus(control=self.control.status(), relay=self.relay.status())

    async def drain(self) -> None:
        """Stop both in good order: nobody new from now on, and `drain_timeout` for streams on the relay to end."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.relay.drain)
            nursery.start_soon(self.control.drain)


class _JointCredential:
    """What control shows the relay inside, and nobody else: valid for two years, which the server may outlive.

    Only the relay dials there, so it is enough to look whether it is still good before each time it does.
    """

    def __init__(self, surroundings: Surroundings) -> None:
        self._surroundings = surroundings
        self.credential = self._issue()

    def roots(self, control: ControlServer) -> tuple[bytes, ...]:
        """What vouches for control now, which shows another credential first if the clock has left the old one."""
        if needs_renewal(self.credential.der, self._surroundings.wall_clock()):
            self.credential = self._issue()
            control.replace_relay_credential(self.credential)
        return (self.credential.der,)

    def _issue(self) -> Credential:
        world = self._surroundings
        return issue_server_credential(
            [], [LOOPBACK_V4, LOOPBACK_V6], wall_now=world.wall_clock(), entropy=world.entropy
        )


def loopback_for(ingresses: tuple[RelayIngressSettings, ...]) -> IPv4Address | IPv6Address:
    """Where the relay joins control: it dials from the sockets of its ingresses, which may all be IPv6."""
    if ingresses and not any(_reaches_ipv4(ingress.address.host) for ingress in ingresses):
        return LOOPBACK_V6
    return LOOPBACK_V4


def _reaches_ipv4(host: str) -> bool:
    """Whether a socket bound to `host` can send to IPv4; taken for granted of a name, which is looked up elsewhere."""
    try:
        address = ip_address(host)
    except ValueError:
        return True  # a name, or empty: every address
    return isinstance(address, IPv4Address) or address.is_unspecified or address.ipv4_mapped is not None


def _control_settings(settings: ServerSettings, credential: Credential, token: str) -> ControlSettings:
    return ControlSettings(
        client_ingresses=settings.client_ingresses,
        client_tokens=settings.client_tokens,
        relay_ingresses=(
            IngressSettings(
                address=HostPort(str(loopback_for(settings.relay_ingresses)), JOINT_PORT), credential=credential
            ),
        ),
        relay_tokens=((token, Restriction()),),
        endpoint_expiry=settings.endpoint_expiry,
        congestion_control=settings.congestion_control,
        quic_engine=settings.quic_engine,
        max_packet_size=settings.max_packet_size,
        store_directory=_below(settings.store_directory, "control"),
    )


def _relay_settings(settings: ServerSettings, token: str, joint: AddressPort) -> RelaySettings:
    return RelaySettings(
        token=token,
        control=HostPort(str(joint.address), joint.port),
        control_name=str(joint.address),
        ingresses=settings.relay_ingresses,
        quic_engine=settings.quic_engine,
        max_packet_size=settings.max_packet_size,
        store_directory=_below(settings.store_directory, "relay"),
        drain_timeout=settings.drain_timeout,
        congestion_control=settings.congestion_control,
    )


def _below(directory: Path | None, name: str) -> Path | None:
    return None if directory is None else directory / name
