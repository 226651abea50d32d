"""The backlog of a stream does what the bytearray does whose place it takes."""

from hypothesis import given
from hypothesis import strategies as st

from connet_trio.quic.fast.backlog import JOINED_BYTES, Backlog

Step = tuple[str, int]
STEPS = st.lists(st.tuples(st.sampled_from(["bytes", "view", "drop", "clear"]), st.integers(0, 9000)), max_size=30)


@given(steps=STEPS)
def test_a_backlog_holds_what_a_bytearray_would(steps: list[Step]) -> None:
    backlog, model, written = Backlog(), bytearray(), 0
    for action, count in steps:
        match action:
            case "bytes" | "view":
                data = bytes((written + index) % 251 for index in range(count))
                written += count
                backlog += data if action == "bytes" else memoryview(b"before" + data + b"behind")[6 : 6 + count]
                model += data
            case "drop":
                del backlog[: min(count, len(model))]
                del model[:count]
            case _:
                backlog.clear()
                model.clear()
        assert len(backlog) == len(model)
        assert backlog[:] == model
        assert backlog[len(model) // 3 : len(model) // 2] == model[len(model) // 3 : len(model) // 2]


def test_bytes_that_may_change_are_copied() -> None:
    backlog = Backlog()
    changing = bytearray(b"a" * JOINED_BYTES)
    backlog += changing
    backlog += memoryview(changing)
    changing[:] = b"b" * JOINED_BYTES
    assert backlog[:] == b"a" * 2 * JOINED_BYTES


def test_bytes_that_cannot_change_are_not() -> None:
    backlog = Backlog()
    lasting = bytes(1 << 20)
    backlog += lasting
    backlog += memoryview(lasting)[: 1 << 19]
    view = backlog.view(5, 1 << 20)
    assert isinstance(view, memoryview)
    assert view.obj is lasting
    assert [getattr(piece, "obj", piece) is lasting for piece in backlog._pieces] == [True, True]


def test_a_few_bytes_do_not_keep_many() -> None:
    backlog = Backlog()
    many = bytes(1 << 20)
    backlog += memoryview(many)[: 1 << 18]
    assert [type(piece) for piece in backlog._pieces] == [bytes]


def test_small_writes_are_joined() -> None:
    backlog = Backlog()
    for _ in range(10_000):
        backlog += b"0123456789"
    assert len(backlog._pieces) <= 2 * len(backlog) / JOINED_BYTES
    assert backlog[99_990:] == b"0123456789"


def test_what_is_acknowledged_is_let_go() -> None:
    backlog = Backlog()
    for _ in range(4):
        backlog += bytes(JOINED_BYTES)
    del backlog[: JOINED_BYTES + 1]
    assert len(backlog._pieces) == 3
    del backlog[: len(backlog)]
    assert backlog._pieces == []
    backlog += b"x"
    assert backlog[:] == b"x"
