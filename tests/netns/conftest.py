"""Servers that tell what the kernel's NATs do."""

import socket
from collections.abc import Iterator

import attrs
import pytest

from connet_trio.testing.natlab.topology import SERVER, SERVER_ADDRESSES, NatLab, open_natlab

PORTS = 3478, 3479
FIRST = SERVER_ADDRESSES[0], PORTS[0]
ANSWER_SECONDS = 5.0
"""Far more than it takes; only what never arrives is waited for."""

Place = tuple[str, int]


@pytest.fixture
def natlab() -> Iterator[NatLab]:
    """A lab with plain cables."""
    with open_natlab() as lab:
        yield lab


@attrs.frozen
class Reflector:
    """Servers at two addresses with two ports each, to which hosts of the lab write."""

    sockets: dict[Place, socket.socket]

    def seen(self, client: socket.socket, place: Place = FIRST) -> Place:
        """From where a server sees a client that writes to it."""
        client.sendto(b"?", place)
        source: Place = self.sockets[place].recvfrom(100)[1]
        return source

    def is_let_in(self, client: socket.socket, outside: Place, sender: socket.socket) -> bool:
        """Whether what `sender` writes to an outside place arrives at the client, who has written to `FIRST`."""
        sender.sendto(b"question", outside)
        self.sockets[FIRST].sendto(b"end", outside)  # let in for sure, and not before what was sent earlier
        let_in = client.recv(100) == b"question"
        if let_in:
            assert client.recv(100) == b"end"
        return let_in


@pytest.fixture
def reflector(natlab: NatLab) -> Iterator[Reflector]:
    """Servers in the lab."""
    places = [(address, port) for address in SERVER_ADDRESSES for port in PORTS]
    made = Reflector({place: udp_socket(natlab, SERVER, *place) for place in places})
    yield made
    for each in made.sockets.values():
        each.close()


def udp_socket(lab: NatLab, host: str, address: str = "", port: int = 0) -> socket.socket:
    """A socket on a host."""
    made = lab.socket(host, socket.SOCK_DGRAM)
    made.bind((address, port))
    made.settimeout(ANSWER_SECONDS)
    return made
