"""Every decoder of bytes that somebody else wrote reads them, or raises the error it is documented to raise.

What each can read is made and then damaged, which gets further than bytes of chance. The tables name every function of
`wire` and `identity` that takes bytes; a new one has to be entered. `CONNET_TRIO_EXAMPLES` sets how many examples each
gets.
"""

import importlib
import inspect
import os
import pkgutil
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import attrs
import pytest
import tomlkit
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from connet_trio import identity, wire
from connet_trio.config import check_files, load_client, load_control, load_relay, load_server
from connet_trio.control.acceptance import check_certificate
from connet_trio.errors import CertificateRejected, ConfigError, ConnetError, RemoteProtocolError
from connet_trio.identity import OperatorTrust, PinnedServer, Realm, check_client, issue_identity
from connet_trio.identity.certificates import (
    dns_names,
    is_certificate,
    load_credential,
    load_roots,
    needs_renewal,
    parse_certificate,
    server_name,
)
from connet_trio.identity.fingerprints import certificate_key
from connet_trio.identity.sealed_tokens import (
    open_client_authentication,
    open_reconnect_token,
    seal_client_authentication,
    seal_reconnect_token,
    shared_key,
)
from connet_trio.quic.routing import RoutingTable
from connet_trio.records.text import printable
from connet_trio.wire import FrameDecoder, WireVersion, detect_version, encode_frame
from connet_trio.wire.punch import decode_for_control, decode_for_peer, encode_body
from connet_trio.wire.punch_seal import seal, unseal
from tests.strategies import (
    RECORDS,
    SECRET,
    configurations,
    mutations,
    protobuf_messages,
    told_to_control,
    told_to_peers,
)

EXAMPLES = int(os.environ.get("CONNET_TRIO_EXAMPLES", "30"))
NOW = 1_800_000_000.0
KEY = bytes(range(32))
LEAVES = issue_identity(Realm.PEER, wall_now=NOW, entropy=Random(33).randbytes)
LEAF, CLIENT_LEAF = LEAVES.server.der, LEAVES.client.der
PEM = LEAVES.server.leaf.public_bytes(Encoding.PEM)
KEY_PEM = LEAVES.server.private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
TOKEN = seal_client_authentication(b"who", KEY, Random(33).randbytes)
RECONNECT = seal_reconnect_token("client", KEY, Random(33).randbytes)


@attrs.frozen
class Decoder:
    """A function of bytes, what it reads, and what it raises for the rest."""

    decode: Callable[[bytes], object]
    valid: SearchStrategy[bytes]
    error: type[ConnetError] | None = None
    """None: it has an answer to everything."""
    of: tuple[object, ...] = ()
    """The functions it stands for, unless that is `decode` itself."""


def frames_of(version: WireVersion) -> Callable[[bytes], object]:
    def read(data: bytes) -> list[bytes]:
        decoder = FrameDecoder(version)
        decoder.feed(data)
        frames = []
        while (frame := decoder.next_frame()) is not None:
            frames.append(frame)
        return frames

    return read


def join_frames(version: WireVersion, many: list[bytes]) -> bytes:
    return b"".join(encode_frame(payload, version) for payload in many)


def find_route(data: bytes) -> object:
    return RoutingTable().find(data or b"\0")


payloads = st.lists(st.binary(max_size=20), max_size=4)
leaves = st.sampled_from([LEAF, CLIENT_LEAF])
pems = st.just(PEM) | st.just(PEM * 2) | st.just(PEM + KEY_PEM)
sealed_bodies = (told_to_peers | told_to_control).map(lambda message: seal(KEY, encode_body(message)))

DECODERS: dict[str, Decoder] = {
    **{
        name: Decoder(codec.decode, records.map(codec.encode) | protobuf_messages, RemoteProtocolError)
        for name, (codec, records) in RECORDS.items()
    },
    **{
        f"frames {version.name}": Decoder(
            frames_of(version),
            payloads.map(partial(join_frames, version)),
            RemoteProtocolError,
        )
        for version in WireVersion
    },
    "the version of frames": Decoder(detect_version, st.binary(max_size=6)),
    "a body for control": Decoder(decode_for_control, told_to_control.map(encode_body), RemoteProtocolError),
    "a body for a peer": Decoder(decode_for_peer, told_to_peers.map(encode_body), RemoteProtocolError),
    "a signed datagram": Decoder(lambda data: unseal(KEY, data), sealed_bodies, RemoteProtocolError, (unseal,)),
    "a certificate": Decoder(parse_certificate, leaves, CertificateRejected),
    "whether it is a certificate": Decoder(is_certificate, leaves),
    "a certificate to hand on": Decoder(check_certificate, leaves, CertificateRejected),
    "its names": Decoder(dns_names, leaves, CertificateRejected),
    "its first name": Decoder(server_name, leaves, CertificateRejected),
    "its fingerprint": Decoder(certificate_key, leaves),
    "its dates": Decoder(lambda der: needs_renewal(der, NOW), leaves, CertificateRejected, (needs_renewal,)),
    "the leaf of a client": Decoder(
        lambda der: check_client(der, {der}, NOW), leaves, CertificateRejected, (check_client,)
    ),
    "the leaf of a server": Decoder(
        lambda der: PinnedServer(der, LEAVES.name).check([der], NOW), leaves, CertificateRejected
    ),
    "the chain of a server": Decoder(
        lambda der: OperatorTrust((LEAF,), LEAVES.name).check([der, der], NOW), leaves, CertificateRejected
    ),
    "a root": Decoder(lambda der: OperatorTrust((der,), LEAVES.name).check([LEAF], NOW), leaves, CertificateRejected),
    "a file of certificates": Decoder(load_roots, pems, CertificateRejected),
    "a certificate and its key": Decoder(
        lambda pem: load_credential(pem, pem), st.just(PEM + KEY_PEM), CertificateRejected, (load_credential,)
    ),
    "a token for a relay": Decoder(
        lambda token: open_client_authentication(token, KEY),
        st.just(TOKEN),
        RemoteProtocolError,
        (open_client_authentication,),
    ),
    "a reconnect token": Decoder(
        lambda token: open_reconnect_token(token, KEY), st.just(RECONNECT), None, (open_reconnect_token,)
    ),
    "a public key": Decoder(
        lambda public: shared_key(public, KEY), st.binary(min_size=32, max_size=32), RemoteProtocolError, (shared_key,)
    ),
    "a datagram": Decoder(find_route, st.binary(max_size=80).map(lambda rest: b"\xc0\0\0\0\1\x08" + rest)),
    "text for a log": Decoder(lambda data: printable(data.decode("utf-8", "surrogateescape")), st.binary(max_size=40)),
}
ENCODERS = {"base32hex", "encode_frame", "seal", "seal_client_authentication", "seal_reconnect_token", "check_secret"}
"""What takes bytes of our own."""


@pytest.mark.reliability(line=33)
@pytest.mark.parametrize("name", DECODERS)
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_damaged_bytes_are_read_or_refused_with_the_error_of_their_decoder(name: str, data: st.DataObject) -> None:
    decoder = DECODERS[name]
    damaged = data.draw(mutations(decoder.valid) | decoder.valid | st.binary(max_size=64))
    if decoder.error is None:
        decoder.decode(damaged)
    else:
        with suppress(decoder.error):
            decoder.decode(damaged)


@pytest.mark.reliability(line=33)
def test_every_function_that_takes_bytes_is_in_the_table() -> None:
    in_table = {
        getattr(of, "__name__", "") for decoder in DECODERS.values() for of in (decoder.of or (decoder.decode,))
    }
    taking = set[str]()
    for package in (wire, identity):
        for found in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            taking |= {
                name
                for name, function in vars(importlib.import_module(found.name)).items()
                if takes_bytes(name, function)
            }
    assert taking - in_table - ENCODERS == set()


def takes_bytes(name: str, function: Any) -> bool:
    if name.startswith("_") or not callable(function) or inspect.isclass(function):
        return False
    function = inspect.unwrap(function)
    ours = inspect.isfunction(function) and function.__module__.startswith("connet_trio")
    return ours and any(parameter.annotation is bytes for parameter in inspect.signature(function).parameters.values())


LOADERS: dict[str, Callable[[Path], object]] = {
    "client": lambda file: load_client([file], {}, {}),
    "server": lambda file: load_server([file], {}, {}),
    "control": lambda file: load_control([file], {}, {}),
    "relay": lambda file: load_relay([file], {}, {}),
    "check": lambda file: check_files([file]),
}


@pytest.mark.reliability(line=25)
@pytest.mark.reliability(line=33)
@pytest.mark.parametrize("service", LOADERS)
@settings(max_examples=EXAMPLES // 4, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(document=configurations())
def test_a_configuration_is_loaded_or_refused_and_never_tells_its_tokens(
    service: str, document: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path_factory.getbasetemp() / "shape.toml"
    file.write_text(tomlkit.dumps(document), "utf-8", newline="")
    try:
        loaded = LOADERS[service](file)
    except ConfigError as exc:
        said = str(exc)
    else:
        said = repr(loaded)
    assert SECRET not in said


@pytest.mark.reliability(line=33)
@settings(max_examples=EXAMPLES // 4, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(text=mutations(configurations().map(lambda document: tomlkit.dumps(document).encode())))
def test_damaged_files_are_loaded_or_refused_too(text: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.getbasetemp() / "damaged.toml"
    file.write_bytes(text)
    with suppress(ConfigError):
        load_server([file], {}, {})
