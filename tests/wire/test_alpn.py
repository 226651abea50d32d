"""Protocol names, as listed in section 2.2 of the protocol."""

import pytest

from connet_trio.errors import RemoteProtocolError
from connet_trio.wire import ConnectionKind, WireVersion, protocol_names, wire_version

NAMES = {
    ConnectionKind.CLIENT_TO_CONTROL: ("connet-control/0.4", "connet-client/0.3"),
    ConnectionKind.PEER_TO_PEER: ("connet-peer/0.2", "connet-peer/0.1"),
    ConnectionKind.CLIENT_TO_RELAY: ("connet-relay/0.3", "connet-peer-relay/0.2"),
    ConnectionKind.RELAY_TO_CONTROL: ("connet-control-relays/0.4", "connet-relay/0.3"),
}


@pytest.mark.parametrize("kind", ConnectionKind)
def test_the_newer_version_is_preferred(kind: ConnectionKind) -> None:
    assert protocol_names(kind) == NAMES[kind]
    assert [wire_version(kind, name) for name in NAMES[kind]] == [WireVersion.V2, WireVersion.V1]


def test_one_name_means_two_protocols() -> None:
    assert wire_version(ConnectionKind.CLIENT_TO_RELAY, "connet-relay/0.3") is WireVersion.V2
    assert wire_version(ConnectionKind.RELAY_TO_CONTROL, "connet-relay/0.3") is WireVersion.V1


@pytest.mark.parametrize("alpn", [None, "", "connet-peer/0.2", "connet-client/0.2"])
def test_a_name_that_was_not_offered_is_refused(alpn: str | None) -> None:
    with pytest.raises(RemoteProtocolError, match="client → control: no wire version"):
        wire_version(ConnectionKind.CLIENT_TO_CONTROL, alpn)
