"""What `quic/core.py`, its parts and `quic/fast` rely on in aioquic beyond its public names.

A release of aioquic that moves one of them fails here, with a sentence that says what moved, before a connection fails
in a way nobody can explain. No other module may touch such a name.
"""

import ast
import inspect
import re
import ssl
import textwrap
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from aioquic import tls
from aioquic.buffer import Buffer  # type: ignore[attr-defined]
from aioquic.quic import connection as connection_module
from aioquic.quic import events, recovery
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.congestion.base import QuicCongestionControl, create_congestion_control
from aioquic.quic.congestion.cubic import CubicCongestionControl
from aioquic.quic.connection import Limit, QuicConnection, QuicConnectionId, QuicConnectionState
from aioquic.quic.crypto import CryptoPair
from aioquic.quic.packet import (
    QuicErrorCode,
    QuicFrameType,
    QuicPacketType,
    QuicProtocolVersion,
    QuicTransportParameters,
    pull_quic_transport_parameters,
    push_quic_transport_parameters,
)
from aioquic.quic.packet_builder import (
    PACKET_NUMBER_SEND_SIZE,
    QuicDeliveryState,
    QuicPacketBuilder,
    QuicSentPacket,
)
from aioquic.quic.rangeset import RangeSet
from aioquic.quic.stream import QuicStream, QuicStreamSender
from cryptography import x509
from cryptography.hazmat.primitives.ciphers import CipherContext
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

import connet_trio
from connet_trio.quic import core, tls_context
from connet_trio.quic.bounds import BoundedConnection
from connet_trio.quic.core import Core
from connet_trio.quic.datagram_sizing import SizedConnection
from connet_trio.quic.engine_controllers import REDUCED_FIELDS
from connet_trio.quic.fast import FastCore
from connet_trio.quic.fast.small_packets import SmallPackets
from connet_trio.quic.limits import LARGEST_DATAGRAM_BYTES, STREAMS_ALLOWED
from connet_trio.quic.recovery import Recovery
from connet_trio.quic.stream_credit import CreditedConnection
from tests.quic.conftest import ALPN, LISTENER, RESET_KEY, WALL_NOW, dialing, listening

PACKAGE = Path(connet_trio.__file__).parent
SEAM = {
    *(
        PACKAGE / "quic" / f"{name}.py"
        for name in (
            "bounds",
            "core",
            "datagram_sizing",
            "stream_credit",
            "engine_controllers",
            "leftovers",
            "pacing",
            "recovery",
            "tls_context",
        )
    ),
    *(PACKAGE / "quic" / "fast").glob("*.py"),
    PACKAGE / "testing" / "adversary.py",
}
NEAR, FAR = ("192.0.2.2", 5000), ("192.0.2.1", 4000)
NO_SPACE: Any = None
"""The packet number space, which the methods that write credit take and never look at."""

CONNECTION = {
    "_ack_delay": float,
    "_ack_eliciting_sent_since_receipt": bool,
    "_close_at": type(None),
    "_close_end": Callable,
    "_close_event": type(None),
    "_close_pending": bool,
    "_configuration": QuicConfiguration,
    "_consume_peer_cid": Callable,
    "_crypto_buffers": dict,
    "_crypto_streams": dict,
    "_cryptos": dict,
    "_datagrams_pending": deque,
    "_events": deque,
    "_get_or_create_stream": Callable,
    "_handle_ack_frame": Callable,
    "_handle_crypto_frame": Callable,
    "_handle_max_stream_data_frame": Callable,
    "_handle_max_streams_bidi_frame": Callable,
    "_handle_new_connection_id_frame": Callable,
    "_handle_path_challenge_frame": Callable,
    "_handle_ping_frame": Callable,
    "_handle_retire_connection_id_frame": Callable,
    "_handshake_complete": bool,
    "_handshake_confirmed": bool,
    "_handshake_done_pending": bool,
    "_host_cid_seq": int,
    "_host_cids": list,
    "_idle_timeout": Callable,
    "_initialize": Callable,
    "_is_client": bool,
    "_local_ack_delay_exponent": int,
    "_local_active_connection_id_limit": int,
    "_local_max_data": Limit,
    "_local_max_stream_data_bidi_local": int,
    "_local_max_stream_data_bidi_remote": int,
    "_local_max_streams_bidi": Limit,
    "_local_max_streams_uni": Limit,
    "_local_next_stream_id_bidi": int,
    "_logger": object,
    "_loss": recovery.QuicPacketRecovery,
    "_max_datagram_size": int,
    "_network_paths": list,
    "_on_ack_delivery": Callable,
    "_on_connection_limit_delivery": Callable,
    "_on_max_stream_data_delivery": Callable,
    "_on_ping_delivery": Callable,
    "_pacing_at": type(None),
    "_packet_number": int,
    "_parse_transport_parameters": Callable,
    "_peer_cid": QuicConnectionId,
    "_peer_cid_available": list,
    "_peer_cid_sequence_numbers": set,
    "_peer_retire_prior_to": int,
    "_ping_pending": list,
    "_probe_pending": bool,
    "_quic_logger": type(None),
    "_remote_ack_delay_exponent": int,
    "_remote_max_data": int,
    "_remote_max_data_used": int,
    "_remote_max_idle_timeout": type(None),
    "_remote_max_streams_bidi": int,
    "_remote_preferred_address": type(None),
    "_replenish_connection_ids": Callable,
    "_retire_connection_ids": list,
    "_send_probe": Callable,
    "_send_probing_frames": Callable,
    "_spaces": dict,
    "_spin_bit": bool,
    "_spin_highest_pn": int,
    "_state": QuicConnectionState,
    "_streams": dict,
    "_streams_blocked_pending": bool,
    "_streams_queue": list,
    "_version": type(None),
    "_write_connection_limits": Callable,
    "_write_ping_frame": Callable,
    "_write_stream_limits": Callable,
}
"""Private names of a connection that has not begun, and what they hold."""
CONTEXT = {
    "_alpn_protocols": list,
    "_certificate_request": type(None),
    "_client_handle_certificate_verify": Callable,
    "_ec_private_keys": list,
    "_key_schedule_proxy": type(None),
    "_key_schedule_psk": type(None),
    "_peer_certificate": type(None),
    "_peer_certificate_chain": list,
    "_receive_buffer": bytes,
    "_request_client_certificate": bool,
    "_server_handle_certificate": Callable,
    "_server_handle_certificate_verify": Callable,
    "_server_handle_hello": Callable,
    "_set_peer_certificate": Callable,
    "_supported_groups": list,
    "_x25519_private_key": type(None),
}
SENDER = {
    "_acked": RangeSet,
    "_buffer": bytearray,
    "_buffer_fin": type(None),
    "_buffer_start": int,
    "_buffer_stop": int,
    "_pending": RangeSet,
    "_pending_eof": bool,
    "_reset_error_code": type(None),
}
RECEIVER = {"_buffer": bytearray, "_buffer_start": int, "_final_size": type(None), "_ranges": RangeSet}
RECOVERY = {
    "_cc": QuicCongestionControl,
    "_detect_loss": Callable,
    "_in_persistent_congestion": Callable,
    "_logger": object,
    "_on_packets_lost": Callable,
    "_pacer": recovery.QuicPacketPacer,
    "_pto_count": int,
    "_rtt_first_sample_time": float,
    "_rtt_initial": float,
    "_rtt_initialized": bool,
    "_rtt_latest": float,
    "_rtt_min": float,
    "_rtt_smoothed": float,
    "_rtt_variance": float,
    "_time_of_last_sent_ack_eliciting_packet": float,
}
CRYPTO = {"_update_key_requested": bool}
SEAL = {"_aead": AESGCM, "_iv": int}
PROTECTION = {"_encryptor": CipherContext, "_is_chacha20": bool, "_mask": Callable}
NUMBERS = {"_received": set, "_size": int}
CUBIC = {
    "_W_est": int,
    "_W_max": int,
    "_congestion_recovery_start_time": float,
    "_cwnd_epoch": int,
    "_first_slow_start": bool,
    "_max_datagram_size": int,
    "_starting_congestion_avoidance": bool,
    "_t_epoch": float,
}
PINNED = {*CONNECTION, *CONTEXT, *SENDER, *RECEIVER, *RECOVERY, *CRYPTO, *SEAL, *PROTECTION, *NUMBERS, *CUBIC}

PARAMETERS: dict[tuple[type, str], list[str]] = {
    (QuicConnection, "_close_end"): [],
    (QuicConnection, "_consume_peer_cid"): [],
    (QuicConnection, "_get_or_create_stream"): ["frame_type", "stream_id"],
    (QuicConnection, "_handle_ack_frame"): ["context", "frame_type", "buf"],
    (QuicConnection, "_handle_crypto_frame"): ["context", "frame_type", "buf"],
    (QuicConnection, "_handle_max_streams_bidi_frame"): ["context", "frame_type", "buf"],
    (QuicConnection, "_handle_new_connection_id_frame"): ["context", "frame_type", "buf"],
    (QuicConnection, "_handle_path_challenge_frame"): ["context", "frame_type", "buf"],
    (QuicConnection, "_handle_ping_frame"): ["context", "frame_type", "buf"],
    (QuicConnection, "_handle_retire_connection_id_frame"): ["context", "frame_type", "buf"],
    (QuicConnection, "_idle_timeout"): [],
    (QuicConnection, "_initialize"): ["peer_cid"],
    (QuicConnection, "_on_ack_delivery"): ["delivery", "space", "highest_acked"],
    (QuicConnection, "_on_connection_limit_delivery"): ["delivery", "limit"],
    (QuicConnection, "_on_max_stream_data_delivery"): ["delivery", "stream"],
    (QuicConnection, "_on_ping_delivery"): ["delivery", "uids"],
    (QuicConnection, "_parse_transport_parameters"): ["data", "from_session_ticket"],
    (QuicConnection, "_replenish_connection_ids"): [],
    (QuicConnection, "_send_probing_frames"): ["network_path", "now"],
    (QuicConnection, "_write_connection_limits"): ["builder", "space"],
    (QuicConnection, "_write_ping_frame"): ["builder", "uids", "comment"],
    (QuicConnection, "_write_stream_limits"): ["builder", "space", "stream"],
    (tls.Context, "_client_handle_certificate_verify"): ["input_buf"],
    (tls.Context, "_server_handle_certificate"): ["input_buf"],
    (tls.Context, "_server_handle_certificate_verify"): ["input_buf"],
    (tls.Context, "_server_handle_hello"): ["input_buf", "initial_buf", "handshake_buf"],
    (tls.Context, "_set_peer_certificate"): ["certificate"],
    (recovery.QuicPacketRecovery, "_detect_loss"): ["now", "space"],
    (recovery.QuicPacketRecovery, "_in_persistent_congestion"): ["packets"],
    (tls.Context, "handle_message"): ["input_data", "output_buf"],
    (recovery.QuicPacketRecovery, "_on_packets_lost"): [
        "congestion_event",
        "now",
        "packets",
        "persistent_congestion",
        "space",
    ],
    (recovery.QuicPacketRecovery, "on_ack_received"): ["ack_rangeset", "ack_delay", "now", "space"],
    (recovery.QuicPacketRecovery, "on_packet_sent"): ["packet", "space"],
    (QuicCongestionControl, "on_packet_acked"): ["now", "packet"],
    (QuicCongestionControl, "on_packet_sent"): ["packet"],
    (QuicCongestionControl, "on_packets_expired"): ["packets"],
    (QuicCongestionControl, "on_packets_lost"): ["now", "packets"],
    (QuicCongestionControl, "on_persistent_congestion"): [],
    (QuicCongestionControl, "on_rtt_measurement"): ["now", "rtt"],
    (recovery.QuicPacketPacer, "__init__"): ["max_datagram_size"],
    (recovery.QuicPacketPacer, "next_send_time"): ["now"],
    (recovery.QuicPacketPacer, "update_after_send"): ["now"],
    (recovery.QuicPacketPacer, "update_rate"): ["congestion_window", "smoothed_rtt"],
    (QuicPacketBuilder, "start_frame"): ["frame_type", "capacity", "handler", "handler_args"],
}
"""What is overridden, or called with arguments by position; `self` left out."""


def moved(what: str) -> str:
    return f"aioquic {version('aioquic')}: {what}; connet_trio/quic/core.py relied on it and has to follow"


def initial_keys() -> CryptoPair:
    """Keys that anybody can make; of AES-128, as 1-RTT keys are by our choice."""
    keys = CryptoPair()
    keys.setup_initial(bytes(8), is_client=True, version=QuicProtocolVersion.VERSION_1)
    return keys


# --- stock connections, without anything of ours


def stock_client() -> QuicConnection:
    configuration = QuicConfiguration(
        is_client=True, alpn_protocols=[ALPN], server_name=LISTENER.name, verify_mode=ssl.CERT_NONE
    )
    return QuicConnection(configuration=configuration)


def cubic_client() -> QuicConnection:
    configuration = stock_client().configuration
    configuration.congestion_control_algorithm = "cubic"
    return QuicConnection(configuration=configuration)


def stock_listener(client: QuicConnection) -> QuicConnection:
    leaf, *chain = map(x509.load_der_x509_certificate, LISTENER.server.chain)
    configuration = QuicConfiguration(
        is_client=False,
        alpn_protocols=[ALPN],
        certificate=leaf,
        certificate_chain=chain,
        private_key=LISTENER.server.private_key,
    )
    return QuicConnection(
        configuration=configuration,
        original_destination_connection_id=client.original_destination_connection_id,
    )


def exchange(client: QuicConnection, listener: QuicConnection, now: float) -> None:
    """Let each side have what the other has to send, until both are quiet."""
    for turn in range(20):
        later = now + turn / 100
        for data, _ in client.datagrams_to_send(later):
            listener.receive_datagram(data, NEAR, later)
        if listener._network_paths:
            for data, _ in listener.datagrams_to_send(later):
                client.receive_datagram(data, FAR, later)


def stock_pair() -> tuple[QuicConnection, QuicConnection]:
    """A client and a listener whose handshake is done."""
    client = stock_client()
    listener = stock_listener(client)
    client.connect(FAR, now=0)
    exchange(client, listener, 0)
    return client, listener


class RecordingBuilder(QuicPacketBuilder):
    """Notes the frames that a method of aioquic writes, and what it wants to hear about their delivery."""

    def __init__(self) -> None:  # nothing of a real one is needed
        self.frames: list[tuple[int, object, tuple[object, ...]]] = []

    def start_frame(
        self, frame_type: int, capacity: int = 1, handler: object = None, handler_args: Sequence[Any] = ()
    ) -> Buffer:
        self.frames.append((frame_type, handler, tuple(handler_args)))
        return Buffer(capacity=64)


# --- the sources


@cache
def tree_of(module: object) -> ast.Module:
    return ast.parse(inspect.getsource(module))  # type: ignore[arg-type]


@cache
def source_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def attributes(tree: ast.AST) -> Iterator[ast.Attribute]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.Attribute))


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def private_names(tree: ast.AST) -> set[str]:
    """Every private attribute that is read, written or defined as a method."""
    names = {node.attr for node in attributes(tree) if is_private(node.attr)}
    methods = (item for node in ast.walk(tree) if isinstance(node, ast.ClassDef) for item in node.body)
    return names | {item.name for item in methods if isinstance(item, ast.FunctionDef) and is_private(item.name)}


def uses_of_streams() -> Counter[str]:
    """How aioquic uses its table of streams: `.get`, `[]`, `in`, and so on, each with how often."""
    tree = tree_of(connection_module)
    parents = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
    uses: Counter[str] = Counter()
    for node in attributes(tree):
        if ast.unparse(node) == "self._streams":
            parent = parents[node]
            uses[f".{parent.attr}" if isinstance(parent, ast.Attribute) else type(parent).__name__] += 1
    return uses


@cache
def names_of_aioquic() -> frozenset[str]:
    """Private attributes of every kind of object of aioquic that can get into our hands."""
    client, listener = stock_pair()
    stream = QuicStream(stream_id=0)
    things: list[Any] = [client, listener, client.configuration, client.tls, listener.tls, client._loss]
    things += [client._loss._pacer, client._loss._cc, client._local_max_data, client._peer_cid]
    things += [*client._network_paths, *client._cryptos.values(), *client._spaces.values()]
    things += [stream, stream.sender, stream.receiver, Buffer(capacity=1)]
    things += [initial_keys().send, initial_keys().send.aead, initial_keys().send.hp]
    things += [CubicCongestionControl(1200)]
    things += [space.received_packets for space in client._spaces.values()]
    return frozenset(
        name for thing in things for name in dir(thing) if is_private(name) and not name.startswith("_Quic")
    )


# --- the names


@pytest.mark.parametrize(
    ("make", "names"),
    [
        (stock_client, CONNECTION),
        (lambda: tls.Context(is_client=False, alpn_protocols=[ALPN]), CONTEXT),
        (lambda: QuicStream(stream_id=0).sender, SENDER),
        (lambda: QuicStream(stream_id=0).receiver, RECEIVER),
        (lambda: cubic_client()._loss, RECOVERY),
        (lambda: stock_pair()[0]._cryptos[tls.Epoch.ONE_RTT], CRYPTO),
        (lambda: initial_keys().send.aead, SEAL),
        (lambda: initial_keys().send.hp, PROTECTION),
        (recovery.QuicPacketNumberWindow, NUMBERS),
        (lambda: CubicCongestionControl(1200), CUBIC),
    ],
    ids=[
        "QuicConnection",
        "Context",
        "QuicStreamSender",
        "QuicStreamReceiver",
        "QuicPacketRecovery",
        "CryptoPair",
        "AEAD",
        "HeaderProtection",
        "QuicPacketNumberWindow",
        "CubicCongestionControl",
    ],
)
def test_every_private_name_is_there_and_holds_what_it_held(make: Callable[[], Any], names: dict[str, Any]) -> None:
    thing = make()
    for name, kind in names.items():
        assert hasattr(thing, name), moved(f"{type(thing).__name__}.{name} is gone")
        value = getattr(thing, name)
        assert callable(value) if kind is Callable else isinstance(value, kind), moved(
            f"{type(thing).__name__}.{name} is now {type(value).__name__}"
        )


@pytest.mark.parametrize(("owner", "name"), PARAMETERS, ids=lambda value: getattr(value, "__name__", value))
def test_every_overridden_method_takes_the_same_arguments(owner: type, name: str) -> None:
    expected = PARAMETERS[owner, name]
    assert hasattr(owner, name), moved(f"{owner.__name__}.{name} is gone")
    _, *names = inspect.signature(getattr(owner, name)).parameters
    assert names == expected, moved(f"{owner.__name__}.{name} takes {names}, not {expected}")


@pytest.mark.parametrize("name", sorted(name for _, name in PARAMETERS if is_private(name)))
def test_every_overridden_method_is_still_asked_for_by_its_name(name: str) -> None:
    used = {node.attr for module in (connection_module, recovery, tls) for node in attributes(tree_of(module))}
    assert name in used, moved(f"nothing calls {name} any more")


def test_every_private_name_that_the_seam_uses_is_pinned_here_or_ours() -> None:
    used = set(REDUCED_FIELDS).union(*(private_names(source_of(path)) for path in SEAM))  # those are read by name
    unpinned = used & names_of_aioquic() - PINNED
    assert not unpinned, f"{sorted(unpinned)} of aioquic are touched, and no test pins them"
    assert used >= PINNED, f"pinned for nothing, since nothing touches them: {sorted(PINNED - used)}"


def test_no_name_of_ours_is_one_that_aioquic_uses_for_itself() -> None:
    sources = [
        PACKAGE / "quic" / name
        for name in ("bounds.py", "core.py", "datagram_sizing.py", "stream_credit.py", "fast/core.py")
    ]
    sources.append(PACKAGE / "quic" / "fast" / "small_packets.py")
    classes = {
        *vars(Core),
        *vars(CreditedConnection),
        *vars(BoundedConnection),
        *vars(SizedConnection),
        *vars(SmallPackets),
        *vars(FastCore),
    }
    ours = classes.union(*(private_names(source_of(path)) for path in sources)) - PINNED
    theirs = {*dir(stock_client()), *dir(tls.Context(is_client=True))}
    expected = {
        "close",
        "datagrams_to_send",
        "idle_timeout",
        "reset",
        "stop",
    }  # the first two are overridden on purpose
    clashes = {name for name in ours & theirs if not name.startswith("__")} - expected
    assert clashes == set(), moved(f"it now has {sorted(clashes)} itself, names that we gave to something else")


# --- nobody else


@pytest.mark.parametrize(
    "path", sorted(set(PACKAGE.rglob("*.py")) - SEAM), ids=lambda path: str(path.relative_to(PACKAGE))
)
def test_no_other_module_reaches_into_aioquic(path: Path) -> None:
    tree, theirs = source_of(path), names_of_aioquic()
    reaches = [node for node in attributes(tree) if node.attr in theirs and ast.unparse(node.value) != "self"]
    bases: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.ImportFrom(module=str(module), names=names) if module.split(".")[0] == "aioquic":
                assert not any(is_private(part) for part in module.split(".")), f"{path}: imports {module}"
                assert not any(is_private(alias.name) for alias in names), f"{path}: imports from {module}"
                bases |= {alias.asname or alias.name for alias in names}
            case ast.Call(func=ast.Name(id="getattr" | "setattr" | "hasattr" | "delattr"), args=[_, name, *_]):
                assert not (isinstance(name, ast.Constant) and name.value in theirs), f"{path}: {ast.unparse(node)}"
    inherited = [
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef) and any(ast.unparse(base).split(".")[0] in bases for base in node.bases)
    ]
    assert not reaches, f"{path}: {[ast.unparse(node) for node in reaches]} belong into quic/core.py"
    assert not inherited, f"{path}: {inherited} extend classes of aioquic, which belongs into quic/core.py"


# --- streams and credit


def test_the_table_of_streams_is_walked_once_by_the_loop_that_writes_stream_credit() -> None:
    uses = uses_of_streams()
    assert uses[".values"] == 1, moved("it asks for all streams elsewhere too, where it would see only the credited")
    assert uses[".pop"] == 1, moved("streams are discarded in another place, or in another way")
    known = {".values", ".pop", ".get", "Subscript", "Compare", "AnnAssign"}
    assert uses.keys() <= known, moved(f"the table of streams is used in new ways: {uses.keys() - known}")
    calls = [
        node
        for node in ast.walk(tree_of(connection_module))
        if isinstance(node, ast.For) and ast.unparse(node.iter) == "self._streams.values()"
    ]
    assert [ast.unparse(node.body[0]) for node in calls] == [
        "self._write_stream_limits(builder=builder, space=space, stream=stream)"
    ], moved("the loop over all streams does something else than writing credit")


def test_a_stream_finished_both_ways_is_popped_by_its_id() -> None:
    client, listener = stock_pair()
    popped: list[int] = []

    class Table(dict[int, QuicStream]):
        def pop(self, stream_id: int, *default: Any) -> Any:
            popped.append(stream_id)
            return super().pop(stream_id, *default)

    client._streams = Table()
    client.send_stream_data(0, b"question", end_stream=True)
    exchange(client, listener, 1)
    listener.send_stream_data(0, b"answer", end_stream=True)
    exchange(client, listener, 2)
    exchange(client, listener, 3)
    assert popped == [0], moved("a finished stream is not popped from the table")


def test_streams_of_the_peer_are_made_with_all_below_them_and_counted() -> None:
    _, listener = stock_pair()
    stream = listener._get_or_create_stream(QuicFrameType.STREAM_BASE, 8)
    assert stream is listener._streams[8], moved("_get_or_create_stream does not file what it returns")
    assert sorted(listener._streams) == [0, 4, 8], moved("a stream no longer opens those below it")
    assert listener._local_max_streams_bidi.used == 3, moved("used streams are counted elsewhere")
    assert stream.max_stream_data_local == listener._local_max_stream_data_bidi_remote


def test_sending_nothing_makes_a_stream_of_ours_and_takes_its_id() -> None:
    client, _ = stock_pair()
    assert client._local_next_stream_id_bidi == 0
    client.send_stream_data(0, b"")
    assert client._local_next_stream_id_bidi == 4, moved("the next stream id is kept elsewhere")
    assert client._streams[0].max_stream_data_local == client._local_max_stream_data_bidi_local
    assert not client._streams[0].is_blocked
    assert client._remote_max_streams_bidi == 128


def test_the_window_of_the_connection_doubles_by_what_has_arrived_and_by_nothing_else() -> None:
    client, _ = stock_pair()
    limit, builder = client._local_max_data, RecordingBuilder()
    limit.value = limit.sent = 1000
    client._write_connection_limits(builder, NO_SPACE)
    assert (limit.value, builder.frames) == (1000, []), moved("the window grows by itself")
    limit.used = 501
    client._write_connection_limits(builder, NO_SPACE)
    assert (limit.value, limit.sent) == (2000, 2000), moved("the window no longer doubles by `used`")
    limit.used, limit.value = 0, 2500
    client._write_connection_limits(builder, NO_SPACE)
    assert (limit.value, limit.sent) == (2500, 2500), moved("a value set by us is not written")
    assert [frame[0] for frame in builder.frames] == [QuicFrameType.MAX_DATA] * 2


def test_what_a_stream_brings_is_counted_against_the_window() -> None:
    client, listener = stock_pair()
    client.send_stream_data(0, bytes(700))
    exchange(client, listener, 1)
    assert listener._local_max_data.used == 700, moved("received bytes are counted elsewhere")
    assert listener._streams[0].receiver.highest_offset == 700


def test_the_window_of_a_stream_doubles_by_its_highest_offset_and_by_nothing_else() -> None:
    client, _ = stock_pair()
    stream, builder = QuicStream(stream_id=4, max_stream_data_local=1000), RecordingBuilder()
    client._write_stream_limits(builder, NO_SPACE, stream)
    assert (stream.max_stream_data_local, builder.frames) == (1000, []), moved("a stream's window grows by itself")
    stream.receiver.highest_offset = 501
    client._write_stream_limits(builder, NO_SPACE, stream)
    assert stream.max_stream_data_local == 2000, moved("a stream's window no longer doubles by its highest offset")
    stream.receiver.highest_offset, stream.max_stream_data_local = 0, 2500
    client._write_stream_limits(builder, NO_SPACE, stream)
    assert stream.max_stream_data_local_sent == 2500, moved("a stream's window set by us is not written")
    handler = client._on_max_stream_data_delivery
    assert builder.frames == [(QuicFrameType.MAX_STREAM_DATA, handler, (stream,))] * 2


def test_stream_credit_that_is_lost_counts_as_never_sent() -> None:
    client, _ = stock_pair()
    stream = QuicStream(stream_id=4, max_stream_data_local=1000)
    client._on_max_stream_data_delivery(QuicDeliveryState.ACKED, stream)
    assert stream.max_stream_data_local_sent == 1000
    client._on_max_stream_data_delivery(QuicDeliveryState.LOST, stream)
    assert stream.max_stream_data_local_sent == 0, moved("lost stream credit is marked in another way")


def test_the_backlog_of_a_stream_is_what_lies_between_its_two_ends() -> None:
    client, listener = stock_pair()
    client.send_stream_data(0, bytes(5000))
    sender = client._streams[0].sender
    assert (sender._buffer_start, sender._buffer_stop, len(sender._buffer)) == (0, 5000, 5000)
    exchange(client, listener, 1)
    assert (sender._buffer_start, sender._buffer_stop, len(sender._buffer)) == (5000, 5000, 0), moved(
        "acknowledged bytes leave the buffer in another way"
    )


def test_the_backlog_of_a_stream_that_was_reset_can_be_dropped() -> None:
    client, listener = stock_pair()
    client.send_stream_data(0, bytes(200_000))
    client.datagrams_to_send(1)
    sender = client._streams[0].sender
    sender.reset(7)
    sender._buffer.clear()
    sender._buffer_start = sender._buffer_stop
    exchange(client, listener, 2)
    exchange(client, listener, 9)
    assert sender.is_finished, moved("a reset whose data is gone is never acknowledged")
    assert [event.error_code for event in events_of(listener) if isinstance(event, events.StreamReset)] == [7]


def test_a_stopped_receiver_asks_for_it_once_and_finishes_by_the_answer() -> None:
    client, listener = stock_pair()
    client.send_stream_data(0, b"?")
    exchange(client, listener, 1)
    receiver = listener._streams[0].receiver
    receiver.stop(9)
    assert receiver.stop_pending
    exchange(client, listener, 2)
    assert receiver.is_finished, moved("a stop does not bring a reset back")
    assert [event.error_code for event in events_of(client) if isinstance(event, events.StopSendingReceived)] == [9]


def events_of(connection: QuicConnection) -> list[events.QuicEvent]:
    found = []
    while (event := connection.next_event()) is not None:
        found.append(event)
    return found


def test_the_log_of_sent_packets_is_used_as_ours_can_be() -> None:
    uses: set[str] = set()
    for module in (connection_module, recovery):
        tree = tree_of(module)
        parents = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
        found = [node for node in attributes(tree) if node.attr == "sent_packets"]
        uses |= {
            f".{parent.attr}" if isinstance(parent := parents[node], ast.Attribute) else ast.unparse(parent)
            for node in found
        }
    assert uses == {
        "self.sent_packets: dict[int, QuicSentPacket] = {}",
        "list(space.sent_packets)",
        "space.sent_packets[packet.packet_number]",
        ".values",
        ".items",
        ".pop",
        ".clear",
    }, moved("sent packets are looked up in another way")


def test_the_queue_of_streams_is_used_as_ours_can_be() -> None:
    tree = tree_of(connection_module)
    parents = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
    found = [node for node in attributes(tree) if ast.unparse(node) == "self._streams_queue"]
    uses = Counter(
        f".{parent.attr}" if isinstance(parent := parents[node], ast.Attribute) else type(parent).__name__
        for node in found
    )
    assert uses == {"AnnAssign": 1, "Assign": 1, ".append": 2, ".extend": 1, "For": 1, "comprehension": 1}, moved(
        "the order of service is kept in another way"
    )


def test_nothing_is_sent_but_what_the_fast_engine_asks_about() -> None:
    tree = ast.parse(textwrap.dedent(inspect.getsource(QuicConnection._write_application)))
    written = {node.attr for node in attributes(tree) if node.attr.startswith("_write_")}
    asked = "ack connection_limits crypto datagram handshake_done new_connection_id path_challenge path_response ping"
    asked += " reset_stream retire_connection_id stop_sending stream stream_limits streams_blocked"
    expected = {f"_write_{name}".removesuffix("_frame") for name in asked.split()}
    assert {name.removesuffix("_frame") for name in written} == expected, moved("packets carry something else")
    assert PACKET_NUMBER_SEND_SIZE == 2, moved("packet numbers have another width")


def test_the_buffer_of_a_sender_is_appended_to_sliced_and_trimmed_in_front_and_no_more() -> None:
    tree = ast.parse(textwrap.dedent(inspect.getsource(QuicStreamSender)))
    parents = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
    uses = {ast.unparse(parents[node]) for node in attributes(tree) if ast.unparse(node) == "self._buffer"}
    assert uses == {
        "self._buffer = bytearray()",
        "self._buffer += data",
        "self._buffer[:size]",
        "self._buffer[start - self._buffer_start:stop - self._buffer_start]",
    }, moved("a sender does with its buffer what our ring may not do")


# --- time and the end


def test_the_deadline_of_silence_is_asked_of_one_method_and_held_in_one_place() -> None:
    class Patient(QuicConnection):
        def _idle_timeout(self) -> float:
            return 777.0

    client = Patient(configuration=stock_client().configuration)
    assert client._close_at is None
    client.connect(FAR, now=1000)
    assert client._close_at == 1777, moved("the idle deadline is computed elsewhere")
    client.handle_timer(1778)
    assert client._close_at is None
    assert client._state is QuicConnectionState.TERMINATED


def test_silence_ends_with_the_words_that_connection_py_looks_for() -> None:
    client = stock_client()
    client.connect(FAR, now=0)
    assert client._close_at is not None
    client.handle_timer(client._close_at)
    assert client._close_event is not None
    assert client._close_event.reason_phrase == "Idle timeout", moved("an idle timeout has another text")


def test_the_first_ack_eliciting_packet_after_a_receipt_restarts_the_deadline_of_silence() -> None:
    client, listener = stock_pair()
    exchange(client, listener, 1)
    client.send_ping(1)
    client._ack_eliciting_sent_since_receipt = True
    before = client._close_at
    client.datagrams_to_send(5)
    assert client._close_at == before, moved("packets sent without an answer prolong the connection again")
    client.send_ping(2)
    client._ack_eliciting_sent_since_receipt = False
    client.datagrams_to_send(6)
    assert client._ack_eliciting_sent_since_receipt
    assert client._close_at == pytest.approx(6 + client._idle_timeout())


def test_a_receipt_is_what_is_sealed_by_the_peer_and_new_and_comes_from_where_it_may_send() -> None:
    client, listener = stock_pair()
    exchange(client, listener, 1)
    listener.send_ping(1)
    ((data, _),) = listener.datagrams_to_send(2)
    for datagram, source, is_receipt in (
        (data[:-1] + bytes([data[-1] ^ 1]), FAR, False),
        (data, ("192.0.2.1", 4001), False),
        (data, FAR, True),
        (data, FAR, False),
    ):
        client._ack_eliciting_sent_since_receipt = True
        client.receive_datagram(datagram, source, 2)
        assert client._ack_eliciting_sent_since_receipt is not is_receipt, moved("a receipt is noted in another way")


def test_a_probe_leaves_though_the_congestion_window_is_full() -> None:
    client, listener = stock_pair()
    exchange(client, listener, 1)
    client.send_stream_data(0, bytes(1_000_000))
    now = 2.0
    while client.datagrams_to_send(now):
        now += 0.001
    client.send_ping(1)
    assert client.datagrams_to_send(now) == [], moved("the congestion window holds back no ping")
    client._send_probe()
    assert len(client.datagrams_to_send(now)) == 1, moved("a probe waits for room in the congestion window")


def test_network_paths_are_bounded() -> None:
    client, listener = stock_pair()
    exchange(client, listener, 1)
    for port in range(100):
        client.send_ping(port)
        for data, _ in client.datagrams_to_send(2 + port):
            listener.receive_datagram(data, ("192.0.2.66", 1 + port), 2 + port)
        listener.datagrams_to_send(2 + port)
    assert listener._network_paths[0].addr == ("192.0.2.66", 100), moved("a listener no longer follows a dialer")
    assert len(listener._network_paths) == connection_module.MAX_NETWORK_PATHS == 8


def test_a_close_is_pending_until_it_has_left_and_known_at_once() -> None:
    client, listener = stock_pair()
    client.close(3, reason_phrase="enough")
    assert client._close_pending
    assert client._close_event is not None
    assert (client._close_event.error_code, client._close_event.frame_type) == (3, None)
    exchange(client, listener, 1)
    assert not client._close_pending, moved("a close that has left is still pending")
    assert client._state is QuicConnectionState.CLOSING
    assert listener._state is QuicConnectionState.DRAINING, moved("a close by the peer leads to another state")
    assert listener._close_event is not None
    assert (listener._close_event.error_code, listener._close_event.reason_phrase) == (3, "enough")
    assert {client._state, listener._state} <= connection_module.END_STATES


def test_a_connection_can_be_ended_on_the_spot() -> None:
    client, _ = stock_pair()
    events_of(client)
    client._close_event = events.ConnectionTerminated(
        error_code=QuicErrorCode.NO_ERROR, frame_type=QuicFrameType.PADDING, reason_phrase="here and now"
    )
    client._close_end()
    assert client._state is QuicConnectionState.TERMINATED
    assert events_of(client) == [client._close_event], moved("_close_end does not report the close event")
    assert client.datagrams_to_send(1) == []


def test_a_handshake_is_complete_and_confirmed_on_both_sides_and_has_a_round_trip() -> None:
    client, listener = stock_pair()
    fresh = stock_client()
    assert (fresh._handshake_complete, fresh._handshake_confirmed, fresh._loss._rtt_initialized) == (False,) * 3
    for side in (client, listener):
        assert (side._handshake_complete, side._handshake_confirmed) == (True, True)
        assert side._loss._rtt_initialized
        assert 0 < side._loss._rtt_smoothed < 0.1, moved("the smoothed round trip is not in seconds")
        assert side._remote_max_idle_timeout == 60.0, moved("the peer's idle timeout is not in seconds")
        assert side._packet_number > 0


def test_a_path_is_known_by_the_address_it_was_given() -> None:
    client, listener = stock_pair()
    assert client._network_paths[0].addr is FAR
    assert listener._network_paths[0].addr is NEAR


def test_the_pacer_is_asked_and_told_and_nothing_else_of_it_is_used() -> None:
    used = {
        node.attr
        for module in (connection_module, recovery)
        for node in attributes(tree_of(module))
        if ast.unparse(node.value).endswith("_pacer")
    }
    assert used == {"next_send_time", "update_after_send", "update_rate"}, moved(f"of the pacer it uses {used}")
    client, _ = stock_pair()
    asked: list[float] = []

    class Pacer(recovery.QuicPacketPacer):
        def next_send_time(self, now: float) -> float:
            asked.append(now)
            return now + 0.25

    client._loss._pacer = Pacer(max_datagram_size=1200)
    client.send_stream_data(0, b"?")
    assert client.datagrams_to_send(5) == []
    assert asked == [5]
    assert client.get_timer() == 5.25, moved("the pacer's answer is no deadline any more")


def test_of_its_loggers_aioquic_uses_what_our_silent_one_has() -> None:
    used = {
        node.attr
        for module in (connection_module, recovery, tls)
        for node in attributes(tree_of(module))
        if ast.unparse(node.value) in ("self._logger", "self.__logger")
    }
    missing = {name for name in used if not hasattr(core.SilentLogger, name)}
    assert not missing, moved(f"it logs through {missing}, which SilentLogger has not")


# --- the size of datagrams


def test_datagrams_are_as_large_as_one_field_says_from_one_call_to_the_next() -> None:
    client, listener = stock_pair()
    exchange(client, listener, 1)
    for now, size in ((2, 1200), (3, 1300), (4, 1200)):
        client.send_stream_data(0, bytes(3000))
        client._max_datagram_size = size
        ((data, _), *_) = client.datagrams_to_send(now)
        assert len(data) == size, moved("the size of datagrams is kept elsewhere too")


def test_a_packet_of_16384_bytes_is_the_largest_whose_data_has_its_length_in_two_bytes() -> None:
    client, listener = stock_pair()
    client._loss._cc.congestion_window = 1_000_000
    client._max_datagram_size = LARGEST_DATAGRAM_BYTES
    data = bytes(range(256)) * 400
    client.send_stream_data(0, data)
    exchange(client, listener, 1)
    received = [event.data for event in events_of(listener) if isinstance(event, events.StreamDataReceived)]
    assert b"".join(received) == data, moved("large packets carry other data than they were given")


def test_the_size_of_datagrams_has_two_copies_in_the_congestion_control_and_one_in_the_pacer() -> None:
    loss = cubic_client()._loss
    assert loss._cc._max_datagram_size == loss._cc.additive_increase_factor == 1200  # type: ignore[attr-defined]
    assert loss._pacer._max_datagram_size == 1200
    assert not hasattr(loss, "_max_datagram_size"), moved("loss recovery has a size of its own now")


def test_a_packet_that_is_not_in_flight_is_watched_and_costs_no_window() -> None:
    client, _ = stock_pair()
    space, loss = client._spaces[tls.Epoch.ONE_RTT], client._loss
    window, flying = loss.congestion_window, loss.bytes_in_flight
    fates: list[QuicDeliveryState] = []
    packet = QuicSentPacket(
        epoch=tls.Epoch.ONE_RTT,
        in_flight=False,
        is_ack_eliciting=True,
        is_crypto_packet=False,
        packet_number=999,
        packet_type=QuicPacketType.ONE_RTT,
        sent_time=5.0,
        sent_bytes=1400,
        delivery_handlers=[(fates.append, ())],
    )
    loss.on_packet_sent(packet=packet, space=space)
    assert loss.bytes_in_flight == flying, moved("a packet that is not in flight is counted")
    loss._time_of_last_sent_ack_eliciting_packet = 5.0
    timeout = loss.get_loss_detection_time(amplification_limited=False)
    assert timeout == pytest.approx(5.0 + loss.get_probe_timeout()), moved("no timeout is armed for it")
    loss._on_packets_lost(now=6.0, packets=[packet], space=space)
    assert fates == [QuicDeliveryState.LOST]
    assert (loss.congestion_window, loss.bytes_in_flight) == (window, flying), moved("its loss costs window")


def test_losses_that_are_no_congestion_event_cost_no_window() -> None:
    client, _ = stock_pair()
    client.send_stream_data(0, bytes(8000))
    client.datagrams_to_send(1)
    space, window = client._spaces[tls.Epoch.ONE_RTT], client._loss.congestion_window
    lost = list(space.sent_packets.values())
    assert len(lost) > 1
    client._loss._on_packets_lost(congestion_event=False, now=2, packets=lost, space=space)
    assert (client._loss.congestion_window, client._loss.bytes_in_flight) == (window, 0)
    assert client.datagrams_to_send(3), moved("what was lost is not sent again")


def test_a_timeout_asks_for_a_probe_by_one_flag_that_the_next_packet_clears() -> None:
    client, listener = stock_pair()
    exchange(client, listener, 1)
    client.send_stream_data(0, b"?")
    client.datagrams_to_send(2)
    client.get_timer()
    client.handle_timer(9)
    assert client._probe_pending, moved("a timeout asks for a probe in another way")
    client.datagrams_to_send(9)
    assert not client._probe_pending


def test_our_own_transport_parameters_limit_no_size_of_datagrams() -> None:
    ours = Core(dialing=dialing(), reset_key=None, wall_now=WALL_NOW)
    ours.connect(FAR, now=0)
    announced = ours._serialize_transport_parameters()
    assert pull_quic_transport_parameters(Buffer(data=announced)).max_udp_payload_size is None


def test_the_limit_of_the_peer_is_among_its_transport_parameters() -> None:
    buffer = Buffer(capacity=64)
    push_quic_transport_parameters(buffer, QuicTransportParameters(max_udp_payload_size=1452))
    assert pull_quic_transport_parameters(Buffer(data=buffer.data)).max_udp_payload_size == 1452
    assert pull_quic_transport_parameters(Buffer(data=b"")).max_udp_payload_size is None


def test_a_path_counts_what_it_sent_and_knows_whether_it_is_validated() -> None:
    client, _ = stock_pair()
    path = client._network_paths[0]
    before = path.bytes_sent
    client.send_ping(1)
    ((data, _),) = client.datagrams_to_send(1)
    assert path.bytes_sent - before == len(data)
    assert path.is_validated


def test_a_path_that_may_be_forged_counts_what_came_from_it_until_the_connection_is_closing() -> None:
    client = stock_client()
    listener = stock_listener(client)
    client.connect(FAR, now=0)
    ((data, _),) = client.datagrams_to_send(0)
    listener.receive_datagram(data, NEAR, now=0)
    (path,) = listener._network_paths
    assert (path.addr, path.is_validated, path.bytes_received) == (NEAR, False, len(data))
    listener.close()
    listener.datagrams_to_send(0)
    listener.receive_datagram(data, NEAR, now=0)
    assert path.bytes_received == len(data)


# --- connection IDs, frames


def test_connection_ids_are_replenished_into_one_list_with_tokens_and_not_yet_sent() -> None:
    client = stock_client()
    client._remote_active_connection_id_limit = 4
    client._replenish_connection_ids()
    assert len(client._host_cids) == 4, moved("new connection IDs are kept elsewhere")
    for entry in client._host_cids[1:]:
        assert (len(entry.cid), len(entry.stateless_reset_token), entry.was_sent) == (8, 16, False)
    assert client.host_cid == client._host_cids[0].cid


def test_tokens_of_the_peer_are_kept_beside_its_connection_ids() -> None:
    client, listener = stock_pair()
    assert client._peer_cid.stateless_reset_token == listener._host_cids[0].stateless_reset_token, moved(
        "the token in a listener's transport parameters is kept elsewhere"
    )
    assert listener._peer_cid.stateless_reset_token == b""
    issued = {entry.cid: entry.stateless_reset_token for entry in client._host_cids[1:]}
    assert {entry.cid: entry.stateless_reset_token for entry in listener._peer_cid_available} == issued
    listener.change_connection_id()
    assert listener._peer_cid.cid in issued, moved("a listener moves to a new connection ID in another way")


def test_frames_reach_the_methods_that_we_override() -> None:
    engine = Core(dialing=dialing(), reset_key=None, wall_now=WALL_NOW)
    handlers = getattr(engine, "_QuicConnection__frame_handlers", {})
    for number, method in (
        (QuicFrameType.NEW_CONNECTION_ID, Core._handle_new_connection_id_frame),
        (QuicFrameType.MAX_STREAMS_BIDI, Core._handle_max_streams_bidi_frame),
    ):
        assert number in handlers, moved(f"the handler of frame {number:#x} is found in another way")
        assert handlers[number][0].__func__ is method, moved(f"frame {number:#x} does not reach our method")


def test_only_a_ping_that_was_asked_for_carries_a_number() -> None:
    calls = sorted(
        ast.unparse(node)
        for node in ast.walk(tree_of(connection_module))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "self._write_ping_frame"
    )
    probe = "self._write_ping_frame(builder, comment='probe')"
    assert calls == [
        "self._write_ping_frame(builder, comment='ACK-of-ACK trigger')",
        probe,
        probe,
        "self._write_ping_frame(builder, self._ping_pending)",
    ], moved("pings are written in other places")


# --- TLS


def test_a_tls_context_can_change_its_class_and_calls_its_own_methods() -> None:
    context = tls.Context(is_client=True)
    context.__class__ = tls_context.TlsContext  # a layout that differs is a TypeError
    called = {ast.unparse(node) for node in attributes(tree_of(tls))}
    for name in ("_server_handle_hello", "_server_handle_certificate", "_server_handle_certificate_verify"):
        assert f"self.{name}" in called, moved(f"{name} is not called through the context")
    assert {"self._client_handle_certificate_verify", "self._set_peer_certificate"} <= called


def test_a_hello_is_answered_with_what_the_context_holds_then() -> None:
    source = textwrap.dedent(inspect.getsource(tls.Context._server_handle_hello))
    read = {ast.unparse(node) for node in attributes(ast.parse(source))}
    for name in (
        "certificate",
        "certificate_chain",
        "certificate_private_key",
        "_alpn_protocols",
        "_request_client_certificate",
        "_supported_groups",
    ):
        assert f"self.{name}" in read, moved(f"the answer to a hello no longer depends on {name}")


def test_a_message_is_handed_over_whole_and_can_be_read_twice() -> None:
    message = bytes(range(40))
    buffer = Buffer(data=message)
    buffer.pull_bytes(10)
    assert buffer.data_slice(0, buffer.capacity) == message, moved("a slice of a buffer is not the whole of it")
    assert buffer.tell() == 10
    hello = inspect.signature(tls.ClientHello).parameters
    assert {"server_name", "alpn_protocols"} <= hello.keys(), moved("a hello has other fields")


def test_an_empty_certificate_message_leaves_no_peer_certificate() -> None:
    source = inspect.getsource(tls.Context._server_handle_certificate)
    assert "if certificate.certificates:" in source, moved("an empty certificate message is treated in another way")
    assert "self._peer_certificate =" in inspect.getsource(tls.Context._set_peer_certificate)


def test_without_verification_by_aioquic_any_certificate_is_taken() -> None:
    client, _ = stock_pair()
    assert client.tls._peer_certificate is not None
    assert client.tls._peer_certificate_chain == []
    client = stock_client()
    client.configuration.verify_mode = ssl.CERT_REQUIRED
    listener = stock_listener(client)
    client.connect(FAR, now=0)
    exchange(client, listener, 0)
    assert not client._handshake_complete, moved("verify_mode no longer decides whether a certificate is verified")


def test_a_listener_resumes_no_session_which_would_pass_by_the_client_certificate() -> None:
    client = Core(dialing=dialing(), reset_key=None, wall_now=WALL_NOW)
    listener = Core(
        listening=listening(),
        original_destination_id=client.original_destination_connection_id,
        reset_key=RESET_KEY,
        wall_now=WALL_NOW,
    )
    client.connect(FAR, now=0)
    (first,) = client.datagrams_to_send(0)
    listener.receive_datagram(first[0], NEAR, 0)
    assert type(listener.tls) is tls_context.TlsContext, moved("the TLS context is made later than in _initialize")
    assert listener.tls.get_session_ticket_cb is None
    assert listener.tls.new_session_ticket_cb is None
    assert listener.tls._supported_groups == [tls.Group.X25519, tls.Group.SECP256R1]


def test_a_stock_peer_learns_our_limits_from_the_transport_parameters() -> None:
    client = stock_client()
    answering = listening()
    listener = Core(
        listening=answering,
        original_destination_id=client.original_destination_connection_id,
        reset_key=RESET_KEY,
        wall_now=WALL_NOW,
    )
    client.connect(FAR, now=0)
    exchange(client, listener, 0)
    assert client._remote_max_streams_bidi == STREAMS_ALLOWED, moved("our limit of streams is not announced")
    assert client._remote_max_streams_uni == 0
    assert client._remote_max_idle_timeout == 20.0
    assert client._peer_cid.stateless_reset_token == core.reset_token(RESET_KEY, listener.host_cid), moved(
        "the reset token of the first connection ID is fixed earlier than we set it"
    )


# --- loss and congestion


def test_a_recovery_can_change_its_class_and_what_it_is_made_of_can_be_named() -> None:
    client, _ = stock_pair()
    client._loss.__class__ = Recovery  # a layout that differs is a TypeError
    for name in ("cubic", "reno"):
        assert type(create_congestion_control(name, max_datagram_size=1200)).__module__.startswith("aioquic."), (
            "one of aioquic's own controllers has been replaced for everybody in the process"
        )


def test_a_packet_sent_takes_what_a_controller_hangs_on_it() -> None:
    packet = QuicSentPacket(tls.Epoch.ONE_RTT, True, True, False, 1, QuicPacketType.ONE_RTT)
    packet.snapshot = "anything"  # type: ignore[attr-defined]  # with slots this is an AttributeError
    for name in ("packet_number", "packet_type", "epoch", "sent_time", "sent_bytes", "in_flight", "is_ack_eliciting"):
        assert hasattr(packet, name), moved(f"a packet sent has no {name}")


def test_the_window_is_read_from_the_recovery_and_from_there_for_every_flight() -> None:
    read = {ast.unparse(node) for node in attributes(tree_of(connection_module))}
    assert {"self._loss.congestion_window", "self._loss.bytes_in_flight"} <= read, moved("the room is taken elsewhere")
    assert not any(name.startswith("self._loss._cc") for name in read), moved("it asks the controller itself")


def test_the_spaces_of_a_recovery_are_in_the_order_of_their_keys_with_that_of_the_application_last() -> None:
    client, _ = stock_pair()
    *others, last = client._loss.spaces
    assert last.is_application_data
    assert not any(space.is_application_data for space in others)
    for name in ("sent_packets", "loss_time", "largest_acked_packet", "ack_eliciting_in_flight", "received_packets"):
        assert hasattr(last, name), moved(f"a packet space has no {name}")


def test_a_timeout_gives_up_packets_without_a_congestion_event() -> None:
    source = inspect.getsource(recovery.QuicPacketRecovery.reschedule_data)
    assert source.count("congestion_event=False") == source.count("_on_packets_lost(") == 2, moved(
        "a probe timeout reports its packets in another way"
    )


def test_nothing_is_left_of_a_pacing_time_when_something_else_holds_packets_back() -> None:
    client, listener = stock_pair()
    client._pacing_at = 1.0
    client.send_ping(1)
    exchange(client, listener, 1)
    assert client._pacing_at is None, moved("a pacing time stays though all has been sent")


def test_what_a_congestion_event_changes_in_cubic_is_what_ours_takes_back() -> None:
    cubic = CubicCongestionControl(max_datagram_size=1200)
    packets = [
        QuicSentPacket(tls.Epoch.ONE_RTT, True, True, False, number, QuicPacketType.ONE_RTT, 1.0, 1200)
        for number in range(20)
    ]
    for packet in packets:
        cubic.on_packet_sent(packet=packet)
    for packet in packets[:10]:
        cubic.on_packet_acked(now=2.0, packet=packet)
    before = dict(vars(cubic))
    cubic.on_packets_lost(now=3.0, packets=packets[10:12])
    changed = {name for name, value in vars(cubic).items() if before[name] != value}
    assert changed - {"bytes_in_flight"} <= set(REDUCED_FIELDS), moved("a congestion event changes more")
    assert set(REDUCED_FIELDS) <= before.keys(), moved("cubic has other fields")


def test_the_sets_of_epochs_depend_on_nothing_but_their_letters_and_are_never_changed() -> None:
    assert connection_module.EPOCHS("IH01") == {*tls.Epoch}, moved("EPOCHS is something else")
    assert isinstance(connection_module.EPOCHS("1"), frozenset)


def test_after_the_handshake_tls_looks_at_nothing_that_was_dropped() -> None:
    source = inspect.getsource(tls.Context._client_handle_new_session_ticket)
    before, _, after = source.partition("if self.new_session_ticket_cb is not None:")
    assert after, moved("tickets are told to nobody in another way")
    assert set(re.findall(r"self\.\w+", before)) <= {"self._client_handle_new_session_ticket"}
