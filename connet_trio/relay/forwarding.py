"""One stream of a source: a request, a destination that accepts it, then bytes both ways (protocol section 6.3).

    request ─┬─ holds no connect: error 1
             ├─ nobody offers the endpoint: error 500
             └─ candidates, nearest first, each asked within a bound ─┬─ refuses, is silent or gone: the next one
                                                                      ├─ accepts: its answer is passed on, then splice
                                                                      └─ none is left: error 501

Request and answer are passed on as the bytes they came in, so that what this release does not know in them survives
(trap T13). Only the length before them is written anew: each side has a wire version of its own (trap T2).
"""

import logging
from contextlib import ExitStack

import attrs
import trio

from connet_trio.concurrency import Workload, splice
from connet_trio.engine import Switchboard, destination_not_found, dial_failed_error
from connet_trio.errors import PathLost, Refused, RemoteProtocolError
from connet_trio.quic import Connection, RecordStream, RefusalLog, Stream
from connet_trio.records.error_code import ErrorCode
from connet_trio.records.model import Error
from connet_trio.records.peer import Check, Connected, PeerResponse
from connet_trio.records.text import printable
from connet_trio.wire import ConnectionKind, codecs, wire_version

logger = logging.getLogger(__name__)

MAX_CONNECT_BYTES = 1 << 16
"""A request or its answer with every field used takes under a kilobyte."""
REQUEST_SECONDS = 10.0
"""A source writes its request as it opens the stream; what has not come by now never will."""
CREDIT_SECONDS = 2.0
"""How long one destination may let us wait for another stream."""
ANSWER_SECONDS = 2.0
"""How long one destination may take to answer. A source of ours waits 5 s for a relay path: a relay that spent it all
on one dead destination would never reach the second."""


class Crossing:
    """What the connections of one relay share: who is there, and what is carried between them."""

    def __init__(self) -> None:
        self.switchboard: Switchboard[Connection] = Switchboard()
        self.workload = Workload()
        """One job for each stream of a source, from its request on: `drain` waits for those being answered too."""
        self.refusals = RefusalLog()
        self.bytes_forwarded = 0
        self.is_open = True
        """Whether clients and streams are still taken in."""

    def close(self) -> None:
        """Take in nobody and nothing more; what is being forwarded goes on."""
        self.is_open = False

    def count(self, count: int) -> None:
        """Bytes that one side has sent and the connection to the other has taken."""
        self.bytes_forwarded += count


@attrs.frozen
class _Accepted:
    """A destination has said yes on `stream`, in the words of `answer`; what follows on it is payload."""

    stream: Stream
    answer: bytes


async def forward_stream(source: Stream, endpoint: str, crossing: Crossing) -> None:
    """Bring `source`, a stream for `endpoint`, to a destination; returns when both of its directions have ended.

    Whatever goes wrong ends this stream alone. Cancelled, it abandons both sides, so that neither takes what it has for
    the whole.
    """
    with crossing.workload.job(), ExitStack() as opened:  # whatever has ended by itself takes no notice of `abort`
        opened.callback(source.abort)
        records = _records_on(source)
        try:
            with trio.fail_after(REQUEST_SECONDS):
                request = await records.receive_payload()
            outcome = await _find_destination(source, request, endpoint, crossing, opened)
            if isinstance(outcome, Error):
                await records.send(codecs.PEER_RESPONSE, outcome)
                source.close()  # its receiving half too, or the source would be one stream short for good (trap T6)
                return
            await records.send_payload(outcome.answer)
        except (PathLost, Refused, RemoteProtocolError, trio.TooSlowError) as exc:
            reason = printable(str(exc)) or f"no request within {REQUEST_SECONDS:g} s"
            logger.debug("a stream for %s was not forwarded: %s", printable(endpoint), reason)
            source.close()
            return
        await splice(source, outcome.stream, to_right=crossing.count, to_left=crossing.count)


async def _find_destination(
    source: Stream, request: bytes, endpoint: str, crossing: Crossing, opened: ExitStack
) -> _Accepted | Error:
    """A destination that accepts `request`, or what to tell the source instead.

    Args:
      opened: aborts the destination's stream in the end, whoever is cancelled until then.

    Raises:
      RemoteProtocolError: the request is none.
      PathLost: the source gave up meanwhile, so that nobody is asked in vain.
    """
    if isinstance(codecs.PEER_REQUEST.decode(request), Check):
        return Error(ErrorCode.REQUEST_UNKNOWN, "unknown request: no connect in it")
    outcome: _Accepted | Error | None = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_cancel_when_stopped, source, nursery.cancel_scope)
        outcome = await _ask_each(request, endpoint, crossing, opened)
        nursery.cancel_scope.cancel()
    if outcome is None:
        raise PathLost("the source gave up before a destination answered")
    return outcome


async def _cancel_when_stopped(stream: Stream, scope: trio.CancelScope) -> None:
    await stream.wait_stopped()
    scope.cancel()


async def _ask_each(request: bytes, endpoint: str, crossing: Crossing, opened: ExitStack) -> _Accepted | Error:
    candidates = crossing.switchboard.destinations(endpoint, lambda connection: connection.smoothed_rtt)
    if not candidates:
        return destination_not_found()
    refusals: list[Error] = []
    for candidate in candidates:
        try:
            accepted = await _ask(candidate.connection, request)
        except Refused as exc:
            refusals.append(Error(exc.code, exc.message))
        except (PathLost, RemoteProtocolError, trio.TooSlowError) as exc:
            reason = printable(str(exc)) or "no answer in time"
            logger.debug("a destination of %s was passed over: %s", printable(endpoint), reason)
        else:
            opened.callback(accepted.stream.abort)
            return accepted
    return dial_failed_error(refusals)


async def _ask(destination: Connection, request: bytes) -> _Accepted:
    """One destination's yes.

    Raises:
      Refused: it said no, on the stream or by closing the connection.
      PathLost, RemoteProtocolError, trio.TooSlowError: it said nothing that makes sense, or nothing in time.
    """
    with trio.fail_after(CREDIT_SECONDS):
        stream = await destination.open_stream()
    records = _records_on(stream)
    try:
        with trio.fail_after(ANSWER_SECONDS):
            await records.send_payload(request)
            answer = await records.receive_payload()
        _check(codecs.PEER_RESPONSE.decode(answer))
    except Refused:
        stream.close()
        raise
    except BaseException:
        stream.abort()
        raise
    return _Accepted(stream, answer)


def _check(response: PeerResponse) -> None:
    match response:
        case Connected():
            return
        case Error():
            raise Refused(response.code, printable(response.message))
        case Check():
            raise RemoteProtocolError("the answer to a connect request says neither yes nor no")


def _records_on(stream: Stream) -> RecordStream:
    version = wire_version(ConnectionKind.CLIENT_TO_RELAY, stream.connection.alpn)
    return RecordStream(stream, version, max_frame_bytes=MAX_CONNECT_BYTES)
