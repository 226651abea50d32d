"""Every message of connet.json, both ways and in both framings.

`connet.json` holds what connet 0.16-dev (Go, commit 60545c0) wrote for fixed inputs: `value` is the message as protobuf
JSON, `frame_len4` and `frame_len8` its frame in wire versions 2 and 1, in hex.
"""

import base64
import json
from functools import partial
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any

import attrs
import cattrs
import pytest
from cattrs.gen import make_dict_structure_fn

from connet_trio.records import control, control_relay, peer, relay
from connet_trio.records.error_code import ErrorCode
from connet_trio.records.model import AddressPort, Error, Role, Unrecognized
from connet_trio.records.peer import ProxyVersion, RelayEncryption
from connet_trio.wire import Codec, FrameDecoder, WireVersion, codecs, encode_frame

MESSAGES: list[dict[str, Any]] = json.loads((Path(__file__).parent / "connet.json").read_text())["messages"]

CONVERSATIONS: dict[str, tuple[Codec[Any], dict[str, type], type]] = {
    "control.AuthenticateReq": (codecs.CONTROL_AUTHENTICATE, {}, control.Authenticate),
    "control.AuthenticateResp": (codecs.CONTROL_AUTHENTICATE_REPLY, {"error": Error}, control.Authenticated),
    "control.Request": (
        codecs.CONTROL_REQUEST,
        {"announce": control.Announce, "relay": control.SubscribeRelays},
        Unrecognized,
    ),
    "control.Response": (
        codecs.CONTROL_RESPONSE,
        {"error": Error, "announce": control.Peers, "relay": control.Relays},
        Unrecognized,
    ),
    "control_relays.AuthenticateReq": (codecs.RELAY_CONTROL_AUTHENTICATE, {}, control_relay.Authenticate),
    "control_relays.AuthenticateResp": (
        codecs.RELAY_CONTROL_AUTHENTICATE_REPLY,
        {"error": Error},
        control_relay.Authenticated,
    ),
    "control_relays.ClientAuthentication": (codecs.CLIENT_AUTHENTICATION, {}, control_relay.ClientAuthentication),
    "relay.AuthenticateReq": (codecs.RELAY_AUTHENTICATE, {}, relay.Authenticate),
    "relay.AuthenticateResp": (codecs.RELAY_AUTHENTICATE_REPLY, {"error": Error}, relay.Authenticated),
    "peer.Request": (codecs.PEER_REQUEST, {"connect": peer.Connect}, peer.Check),
    "peer.Response": (codecs.PEER_RESPONSE, {"error": Error, "connect": peer.Connected}, peer.Check),
}

NAMES: dict[str, int] = {
    "RoleDestination": Role.DESTINATION,
    "RoleSource": Role.SOURCE,
    "AuthenticationFailed": ErrorCode.AUTHENTICATION_FAILED,
    "RoleNotAllowed": ErrorCode.ROLE_NOT_ALLOWED,
    "DestinationDialFailed": ErrorCode.DESTINATION_DIAL_FAILED,
    "EncryptionNone": RelayEncryption.NONE,
    "TLS": RelayEncryption.TLS,
    "DHX25519_CHACHAPOLY": RelayEncryption.DHXCP,
    "V1": ProxyVersion.V1,
    "V2": ProxyVersion.V2,
}


def read_address(value: dict[str, Any], _: type[AddressPort]) -> AddressPort:
    match value["addr"]:
        case {"v4": text}:
            return AddressPort(IPv4Address(base64.b64decode(text)), value["port"])
        case {"v6": text}:
            return AddressPort(IPv6Address(base64.b64decode(text)), value["port"])
        case other:
            raise AssertionError(other)


def json_converter() -> cattrs.Converter:
    """Reads by the names of fields, knows nothing of their numbers, and leaves nothing unread."""
    converter = cattrs.Converter(detailed_validation=False)
    converter.register_structure_hook_factory(
        attrs.has, partial(make_dict_structure_fn, converter=converter, _cattrs_forbid_extra_keys=True)
    )
    converter.register_structure_hook(bytes, lambda text, _: base64.b64decode(text))
    converter.register_structure_hook(AddressPort, read_address)
    for kind in (Role, ErrorCode | int, RelayEncryption | int, ProxyVersion | int):
        converter.register_structure_hook(kind, lambda name, _: NAMES[name])
    return converter


def meaning(message: dict[str, Any]) -> Any:
    _, variants, otherwise = CONVERSATIONS[message["message"]]
    converter = json_converter()
    for key, variant in variants.items():
        if key in message["value"]:
            assert list(message["value"]) == [key]
            return converter.structure(message["value"][key], variant)
    return converter.structure(message["value"], otherwise)


@pytest.mark.parametrize("version", WireVersion)
@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: message["name"])
def test_what_the_original_wrote_is_read_and_written_alike(message: dict[str, Any], version: WireVersion) -> None:
    frame = bytes.fromhex(message["frame_len8" if version is WireVersion.V1 else "frame_len4"])
    codec, _, _ = CONVERSATIONS[message["message"]]
    decoder = FrameDecoder(version)
    decoder.feed(frame)
    payload = decoder.next_frame()
    assert payload is not None
    assert codec.decode(payload) == meaning(message)
    assert encode_frame(codec.encode(meaning(message)), version) == frame
    assert decoder.take_rest() == b""


def test_the_vectors_cover_every_conversation() -> None:
    assert {message["message"] for message in MESSAGES} == set(CONVERSATIONS)
    assert {message["name"] for message in MESSAGES} >= {"announce response, no peers", "connect request, direct"}
