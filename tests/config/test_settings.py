"""Settings written in code, without any file."""

from functools import partial

import pytest
import trustme

from connet_trio.client.settings import ClientSettings, DestinationSettings, SourceSettings
from connet_trio.control.settings import ControlSettings, IngressSettings
from connet_trio.engine.admission import Restriction
from connet_trio.identity.certificates import Credential, load_credential
from connet_trio.quic import QuicEngine
from connet_trio.records.model import HostPort, Route
from connet_trio.relay.settings import RelayIngressSettings, RelaySettings
from connet_trio.server.settings import ServerSettings

SECRET = "s3cr3t"


@pytest.fixture(scope="module")
def credential(issued: trustme.LeafCert) -> Credential:
    return load_credential(issued.cert_chain_pems[0].bytes(), issued.private_key_pem.bytes())


def test_a_client_needs_only_a_token() -> None:
    client = ClientSettings(token="x")
    assert (client.server, client.server_name, client.server_roots) == (HostPort("127.0.0.1", 19190), "127.0.0.1", None)
    assert client.direct_address is None
    assert (client.handshake_idle_timeout, client.drain_timeout) == (5.0, 2.0)
    assert not client.destinations
    assert not client.sources


@pytest.mark.parametrize("size", [1199, 16_385])
def test_no_packet_is_smaller_than_quic_asks_for_or_larger_than_the_engine_can_build(
    credential: Credential, size: int
) -> None:
    ingress = IngressSettings(address=HostPort("", 0), credential=credential)
    makers = (
        partial(ClientSettings, token="x"),
        partial(RelaySettings, token="x"),
        partial(ControlSettings, client_ingresses=(ingress,), client_tokens=()),
        partial(ServerSettings, client_ingresses=(ingress,), client_tokens=()),
    )
    for make in makers:
        with pytest.raises(ValueError, match="max_packet_size"):
            make(max_packet_size=size)
        assert (make().quic_engine, make().max_packet_size) == (QuicEngine.FAST, 16_384)


def test_the_server_name_is_the_host_of_the_server_unless_said() -> None:
    server = HostPort("control.example", 1)
    assert ClientSettings(token="x", server=server).server_name == "control.example"
    assert ClientSettings(token="x", server=server, server_name="other").server_name == "other"
    assert RelaySettings(token="x", control=server).control_name == "control.example"


def test_an_endpoint_takes_any_route_unless_said() -> None:
    assert DestinationSettings(name="db", target=HostPort("db", 1)).route is Route.ANY
    assert SourceSettings(name="db", listen=HostPort("", 1)).dial_timeout is None


def test_a_relay_listens_everywhere_and_is_found_on_localhost() -> None:
    assert RelaySettings(token="x").ingresses == (
        RelayIngressSettings(address=HostPort("", 19191), hostports=(HostPort("localhost", 19191),)),
    )
    assert RelayIngressSettings(address=HostPort("::1", 5)).hostports == (HostPort("localhost", 5),)


def test_control_and_server_keep_endpoints_for_thirty_seconds(credential: Credential) -> None:
    ingress = IngressSettings(address=HostPort("", 0), credential=credential)
    control = ControlSettings(client_ingresses=(ingress,), client_tokens=(("x", Restriction()),))
    server = ServerSettings(client_ingresses=(ingress,), client_tokens=(("x", Restriction()),))
    assert control.endpoint_expiry == server.endpoint_expiry == 30.0
    assert not control.relay_ingresses
    assert not control.relay_tokens
    assert server.relay_ingresses == RelaySettings(token="x").ingresses


def test_no_repr_shows_a_secret(credential: Credential) -> None:
    ingress = IngressSettings(address=HostPort("", 0), credential=credential)
    tokens = ((SECRET, Restriction()),)
    for settings in (
        ClientSettings(token=SECRET, stateless_reset_key=SECRET.encode().ljust(32)),
        RelaySettings(token=SECRET),
        ControlSettings(client_ingresses=(ingress,), client_tokens=tokens, relay_tokens=tokens),
        ServerSettings(client_ingresses=(ingress,), client_tokens=tokens),
    ):
        assert SECRET not in repr(settings)


def test_a_role_has_each_name_once() -> None:
    twice = (SourceSettings(name="db", listen=HostPort("", 1)), SourceSettings(name="db", listen=HostPort("", 2)))
    with pytest.raises(ValueError, match="same name"):
        ClientSettings(token="x", sources=twice)


@pytest.mark.parametrize("seconds", [0.0, -1.0])
def test_waiting_for_no_time_is_refused(seconds: float) -> None:
    with pytest.raises(ValueError):
        ClientSettings(token="x", handshake_idle_timeout=seconds)
    with pytest.raises(ValueError):
        SourceSettings(name="db", listen=HostPort("", 1), dial_timeout=seconds)


def test_a_reset_key_has_32_bytes() -> None:
    with pytest.raises(ValueError, match="of 31 bytes, expected 32"):
        ClientSettings(token="x", stateless_reset_key=bytes(31))
