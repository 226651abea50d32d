"""Whether an interface is switched off."""

from connet_trio.nat.link_state import is_down


def test_an_interface_that_is_unknown_or_up_is_not_down() -> None:
    assert not is_down("lo")
    assert not is_down("no-such-thing")
    assert not is_down("a name longer than any interface has")
