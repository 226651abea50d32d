"""Endpoints whose files ask for more than a stream: kept from the relay, and with a header about its client."""

from functools import partial

import trio

from connet_trio.testing.local_site import LocalSite
from connet_trio.testing.processes import status_of


async def answer_first_line(stream: trio.SocketStream) -> None:
    received = b""
    while b"\n" not in received:
        received += await stream.receive_some()
    await stream.send_all(received)
    await stream.send_eof()


async def test_a_service_learns_who_its_client_is_through_a_relay_that_cannot_read_it(site: LocalSite) -> None:
    for name, lines in (
        ("client-d.toml", 'relay-encryptions = ["tls"]\nproxy-proto-version = "v1"\n'),
        ("client-s.toml", 'relay-encryptions = ["none", "dhxcp", "tls"]\nlb-policy = "round-robin"\n'),
    ):
        with (site.directory / name).open("a") as file:
            file.write(lines)
    with trio.fail_after(60):
        async with site.open_relayed() as processes, trio.open_nursery() as nursery:
            await nursery.start(partial(trio.serve_tcp, answer_first_line, site.target, host="127.0.0.1"))
            async with await trio.open_tcp_stream("127.0.0.1", site.source) as stream:
                _, port = stream.socket.getsockname()
                line = b"".join([data async for data in stream]).decode()
            assert line == f"PROXY TCP4 127.0.0.1 127.0.0.1 {port} {site.source}\r\n"
            page = await status_of(processes.destination)
            assert page["destinations"]["serviceA"]["relay-encryptions"] == ["tls"]
            assert [await service.stop() for service in reversed(processes.all)] == [0] * len(processes.all)
            nursery.cancel_scope.cancel()
