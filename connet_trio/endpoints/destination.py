"""A destination: a `trio.abc.Listener` of the streams that sources open to it."""

from contextlib import suppress

import trio

from connet_trio.concurrency import AbortableStream, Watched, single_error
from connet_trio.endpoints.connecting import accept_directly, accept_from_relay
from connet_trio.endpoints.control_link import ControlLink
from connet_trio.endpoints.endpoint import ClientContext, Endpoint
from connet_trio.endpoints.relay_encryption import PLAIN
from connet_trio.errors import EndpointClosed
from connet_trio.quic import Stream
from connet_trio.records.error_code import ErrorCode
from connet_trio.records.model import Error, Role, Route
from connet_trio.records.peer import ProxyVersion, RelayEncryption

STOPPING = Error(ErrorCode.DESTINATION_DIAL_FAILED, "the destination is stopping")


class Destination(Endpoint, trio.abc.Listener[AbortableStream]):
    """Offers a service; `trio.serve_listeners` serves it. Made by `Client.add_destination`."""

    def __init__(
        self,
        name: str,
        route: Route,
        context: ClientContext,
        *,
        relay_encryptions: tuple[RelayEncryption, ...] = PLAIN,
        proxy_version: ProxyVersion = ProxyVersion.NONE,
    ) -> None:
        super().__init__(name, Role.DESTINATION, route, context, relay_encryptions)
        self._proxy_version = proxy_version
        # No buffer: a stream waits in its own task, and how many may is limited by the stream credit of its connection,
        # as long as none outlives its source's interest
        self._accepts = True
        self._accepted, self._to_accept = trio.open_memory_channel[AbortableStream](0)

    async def run(
        self, sessions: Watched[ControlLink | None], *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """See `Endpoint.run`; when it ends, so does accepting."""
        try:
            await super().run(sessions, task_status=task_status)
        finally:
            self._accepted.close()

    def stop_accepting(self) -> None:
        """Refuse streams from now on; those accepted go on."""
        self._accepts = False

    async def accept(self) -> AbortableStream:
        """The next stream of a source. One bad source never makes it fail.

        Raises:
          EndpointClosed: the destination is closed.
        """
        try:
            return await self._to_accept.receive()
        except (trio.EndOfChannel, trio.ClosedResourceError):
            raise EndpointClosed(f"destination {self.label} is closed") from None

    async def aclose(self) -> None:
        """Accept no more; streams not yet accepted are ended. The endpoint itself ends with its client."""
        self.stop_accepting()
        self._to_accept.close()
        await trio.lowlevel.checkpoint()

    async def handle_relayed_stream(self, stream: Stream) -> None:
        """Answer a source behind a relay and hand the stream to `accept`."""
        accepted = await accept_from_relay(
            stream, refusal=self._refusal, answer=self.encryptions.answer, proxy=self._proxy_version
        )
        if accepted is not None:
            await self._hand_over(accepted, stream)

    async def handle_direct_stream(self, stream: Stream) -> None:
        """Answer a source and hand the stream to `accept`."""
        accepted = await accept_directly(stream, refusal=self._refusal, proxy=self._proxy_version)
        if accepted is not None:
            await self._hand_over(accepted, stream)

    @property
    def _refusal(self) -> Error | None:
        return None if self._accepts else STOPPING

    async def _hand_over(self, stream: AbortableStream, carrier: Stream) -> None:
        """Wait until somebody accepts the stream, or its source has given it up, which is seen on the QUIC stream."""
        try:
            with suppress(trio.WouldBlock):
                self._accepted.send_nowait(stream)  # most often somebody is waiting for one
                return
            with single_error():
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(_cancel_when_reset, carrier, nursery.cancel_scope)
                    await self._accepted.send(stream)
                    nursery.cancel_scope.cancel()
                    return
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            carrier.close()
            return
        except BaseException:
            carrier.abort()
            raise
        carrier.abort()


async def _cancel_when_reset(stream: Stream, scope: trio.CancelScope) -> None:
    await stream.wait_reset()
    scope.cancel()
