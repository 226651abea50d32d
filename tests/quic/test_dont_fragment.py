"""Which options forbid fragments, system by system, and what is said where that fails."""

import errno
import socket
import sys
from typing import cast

import pytest

from connet_trio.quic.dont_fragment import forbid_fragments


class FakeSocket:
    """Notes what is set, and refuses one level."""

    def __init__(self, family: int, refused: int | None = None) -> None:
        self.family = family
        self.options: list[tuple[int, int, int]] = []
        self._refused = refused

    def setsockopt(self, level: int, option: int, value: int) -> None:
        if level == self._refused:
            raise OSError(errno.ENOPROTOOPT, "injected")
        self.options.append((level, option, value))


IP, IPV6 = socket.IPPROTO_IP, socket.IPPROTO_IPV6


@pytest.mark.parametrize(
    ("system", "options"),
    [
        ("linux", [(IP, 10, 3), (IPV6, 23, 3)]),
        ("darwin", [(IP, 28, 1), (IPV6, 62, 1)]),
        ("freebsd14", [(IP, 67, 1), (IPV6, 62, 1)]),
        ("win32", [(IP, 14, 1), (IPV6, 14, 1)]),
    ],
)
def test_each_system_has_its_options(
    monkeypatch: pytest.MonkeyPatch, system: str, options: list[tuple[int, int, int]]
) -> None:
    monkeypatch.setattr(sys, "platform", system)
    four, six = FakeSocket(socket.AF_INET), FakeSocket(socket.AF_INET6)
    assert forbid_fragments(cast(socket.socket, four))
    assert forbid_fragments(cast(socket.socket, six))
    assert (four.options, six.options) == (options[:1], options)


@pytest.mark.parametrize("refused", [IP, IPV6])
def test_a_family_that_is_refused_is_enough_to_say_no(monkeypatch: pytest.MonkeyPatch, refused: int) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    sock = FakeSocket(socket.AF_INET6, refused)
    assert not forbid_fragments(cast(socket.socket, sock))
    assert len(sock.options) == 1


def test_an_unknown_system_may_fragment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "plan9")
    sock = FakeSocket(socket.AF_INET)
    assert not forbid_fragments(cast(socket.socket, sock))
    assert sock.options == []
