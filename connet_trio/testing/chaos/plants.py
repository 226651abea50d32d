"""Defects to plant into the product for the length of a block, so that the net is seen to catch something."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any

from aioquic.quic.packet_builder import QuicDeliveryState
from aioquic.quic.stream import QuicStreamSender

from connet_trio.engine import Registration, Switchboard
from connet_trio.quic.stream_credit import CreditedConnection


@contextmanager
def _replaced(owner: type, name: str, make: Callable[[Callable[..., Any]], Callable[..., Any]]) -> Iterator[None]:
    original = getattr(owner, name)
    setattr(owner, name, make(original))
    try:
        yield
    finally:
        setattr(owner, name, original)


def _lost_fin(deliver: Callable[..., None]) -> Callable[..., None]:
    """A FIN that is lost is not sent again, but its data is."""

    def on_data_delivery(
        sender: QuicStreamSender, delivery: QuicDeliveryState, start: int, stop: int, fin: bool
    ) -> None:
        deliver(sender, delivery, start, stop, fin and delivery is QuicDeliveryState.ACKED)

    return on_data_delivery


def _leaked_registration(remove: Callable[..., None]) -> Callable[..., None]:
    """A relay does not forget an endpoint whose client has gone without a word."""

    def handle_remove(switchboard: Switchboard[Any], registration: Registration[Any]) -> None:
        lost = registration.connection.lost
        if lost is None or lost.code is not None:
            remove(switchboard, registration)

    return handle_remove


def _dropped_max_stream_data(deliver: Callable[..., None]) -> Callable[..., None]:
    """A MAX_STREAM_DATA frame that is lost is not sent again."""

    def on_max_stream_data_delivery(core: CreditedConnection, delivery: QuicDeliveryState, stream: Any) -> None:
        if delivery is QuicDeliveryState.ACKED:
            deliver(core, delivery, stream)

    return on_max_stream_data_delivery


PLANTS: Mapping[str, tuple[type, str, Callable[[Callable[..., Any]], Callable[..., Any]]]] = MappingProxyType(
    {
        "lost-fin": (QuicStreamSender, "on_data_delivery", _lost_fin),
        "leaked-registration": (Switchboard, "handle_remove", _leaked_registration),
        "dropped-max-stream-data": (CreditedConnection, "_on_max_stream_data_delivery", _dropped_max_stream_data),
    }
)
"""By name: the class, its method, and what makes the defective one of it."""


@contextmanager
def planted(name: str) -> Iterator[None]:
    """Have the product do wrong what `PLANTS` says, in every run of the block."""
    with _replaced(*PLANTS[name]):
        yield
