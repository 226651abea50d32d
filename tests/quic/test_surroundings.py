"""What a service takes from outside, unless it is told otherwise."""

import secrets
import time
from random import Random

from connet_trio.quic import Surroundings, open_udp_socket
from connet_trio.quic.resolving import resolve_host


def test_the_real_world_is_the_default() -> None:
    surroundings = Surroundings()
    assert surroundings.wall_clock is time.time
    assert surroundings.entropy is secrets.token_bytes
    assert surroundings.open_udp_socket is open_udp_socket
    assert surroundings.resolve is resolve_host
    assert surroundings.store_runner is None


def test_everybody_has_luck_of_their_own() -> None:
    first, second = Surroundings(), Surroundings()
    assert first.luck is not second.luck
    assert isinstance(first.luck, Random)
    assert first.luck.random() != second.luck.random()
