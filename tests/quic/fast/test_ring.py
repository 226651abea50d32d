"""The ring of unacknowledged bytes does what the bytearray does whose place it takes."""

from hypothesis import given
from hypothesis import strategies as st

from connet_trio.quic.fast.ring import KEPT_CAPACITY, Ring

Step = tuple[str, int]
STEPS = st.lists(st.tuples(st.sampled_from(["append", "drop", "clear"]), st.integers(0, 9000)), max_size=30)


@given(steps=STEPS)
def test_a_ring_holds_what_a_bytearray_would(steps: list[Step]) -> None:
    ring, model, written = Ring(), bytearray(), 0
    for action, count in steps:
        match action:
            case "append":
                data = bytes((written + index) % 251 for index in range(count))
                written += count
                ring += memoryview(data)
                model += data
            case "drop":
                del ring[: min(count, len(model))]
                del model[:count]
            case _:
                ring.clear()
                model.clear()
        assert len(ring) == len(model)
        assert ring[:] == model
        assert ring[len(model) // 3 : len(model) // 2] == model[len(model) // 3 : len(model) // 2]


def test_bytes_can_be_written_while_others_are_looked_at() -> None:
    ring = Ring()
    ring += bytes(5000)
    with memoryview(ring.view(0, 5000)) as view:
        ring += b"x" * 100_000
        assert bytes(view) == bytes(5000)
    assert ring[5000:5010] == b"x" * 10


def test_a_view_across_the_end_of_the_buffer_is_whole() -> None:
    ring = Ring()
    ring += bytes(4000)
    del ring[:3900]
    ring += b"0123456789" * 20
    assert bytes(ring.view(90, 300)) == bytes(10) + b"0123456789" * 20


def test_a_busy_ring_gives_its_memory_back_when_it_is_empty() -> None:
    ring = Ring()
    ring += bytes(1 << 20)
    del ring[: 1 << 20]
    assert len(ring._bytes) == 0
    ring += bytes(KEPT_CAPACITY)
    del ring[:KEPT_CAPACITY]
    assert len(ring._bytes) == KEPT_CAPACITY, "what is small is kept for the next write"
