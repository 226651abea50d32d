"""Which source reaches which destination: by hand, and against a model. Connections are names or numbers here."""

import attrs
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from connet_trio.engine.switchboard import (
    LISTED_FAILURES,
    LISTED_TEXT_CHARACTERS,
    Registration,
    Switchboard,
    destination_not_found,
    dial_failed_error,
)
from connet_trio.records.error_code import ErrorCode
from connet_trio.records.model import Error, Role


def offer(board: Switchboard[str], connection: str, *, key: str | None = None) -> Registration[str]:
    return board.handle_register("db", Role.DESTINATION, key or f"key of {connection}", connection, "")


def reached(board: Switchboard[str], rtts: dict[str, float]) -> list[str]:
    return [registration.connection for registration in board.destinations("db", rtts.__getitem__)]


def test_destinations_are_tried_by_ascending_round_trip_time() -> None:
    board: Switchboard[str] = Switchboard()
    for connection in ("far", "near", "middle"):
        offer(board, connection)
    assert reached(board, {"near": 0.005, "middle": 0.020, "far": 0.060}) == ["near", "middle", "far"]
    assert reached(board, {"near": 0.060, "middle": 0.020, "far": 0.005}) == ["far", "middle", "near"]


def test_only_destinations_of_the_very_name_are_reached() -> None:
    board: Switchboard[str] = Switchboard()
    board.handle_register("web", Role.DESTINATION, "k1", "other name", "")
    board.handle_register("db", Role.SOURCE, "k2", "other role", "")
    assert reached(board, {}) == []
    offer(board, "near")
    assert reached(board, {"near": 0.005}) == ["near"]


def test_a_second_connection_with_the_same_key_replaces_the_first() -> None:
    board: Switchboard[str] = Switchboard()
    offer(board, "old", key="k")
    offer(board, "new", key="k")
    assert reached(board, {"new": 0.005}) == ["new"]


def test_the_end_of_a_replaced_connection_leaves_the_new_one() -> None:
    board: Switchboard[str] = Switchboard()
    old = offer(board, "same", key="k")
    new = offer(board, "same", key="k")
    board.handle_remove(old)
    assert board.entries() == [new]
    board.handle_remove(new)
    board.handle_remove(new)
    assert board.entries() == []
    assert reached(board, {}) == []


def test_a_removed_destination_is_not_reached() -> None:
    board: Switchboard[str] = Switchboard()
    offer(board, "near")
    board.handle_remove(offer(board, "far"))
    assert reached(board, {"near": 0.005}) == ["near"]


def test_entries_are_ordered_by_endpoint_role_and_key() -> None:
    board: Switchboard[str] = Switchboard()
    board.handle_register("web", Role.SOURCE, "k1", "c1", "")
    board.handle_register("db", Role.SOURCE, "k2", "c2", "")
    board.handle_register("db", Role.DESTINATION, "k4", "c4", "")
    board.handle_register("db", Role.DESTINATION, "k3", "c3", "dc=eu")
    entries = board.entries()
    assert [entry.certificate_key for entry in entries] == ["k3", "k4", "k2", "k1"]
    assert entries[0].metadata == "dc=eu"


def test_a_missing_destination_is_error_500() -> None:
    assert destination_not_found() == Error(ErrorCode.DESTINATION_NOT_FOUND, "could not find destination")


def test_error_501_lists_each_answered_failure_with_its_code() -> None:
    failures = [Error(ErrorCode.DESTINATION_RELAY_ENCRYPTION_ERROR, "no common scheme"), Error(777, "busy")]
    assert dial_failed_error(failures) == Error(
        ErrorCode.DESTINATION_DIAL_FAILED, "could not dial destinations: [no common scheme (502) busy (777)]"
    )


def test_error_501_has_an_empty_list_when_nobody_answered() -> None:
    assert dial_failed_error([]).message == "could not dial destinations: []"


def test_error_501_stays_small_whatever_destinations_answer() -> None:
    failures = [Error(ErrorCode.UNKNOWN, "x" * 1_000_000)] * (LISTED_FAILURES + 3)
    message = dial_failed_error(failures).message
    assert len(message) < LISTED_FAILURES * (LISTED_TEXT_CHARACTERS + 10) + 100
    assert message.endswith(" and 3 more]")


@attrs.define(eq=False)
class Entered:
    """One registration, as the model remembers it."""

    group: tuple[str, Role, str]
    """Endpoint, role, key."""
    registration: Registration[int]


class SwitchboardAgainstAModel(RuleBasedStateMachine):
    """Any history: of those entered and not removed, the latest of each endpoint, role and key is there."""

    entered = Bundle("entered")

    def __init__(self) -> None:
        super().__init__()
        self.board: Switchboard[int] = Switchboard()
        self.latest: dict[tuple[str, Role, str], Entered] = {}
        self.connections = 0

    @rule(
        target=entered,
        endpoint=st.sampled_from(["db", "web"]),
        role=st.sampled_from([Role.DESTINATION, Role.SOURCE]),
        key=st.sampled_from(["k1", "k2", "k3"]),
    )
    def register(self, endpoint: str, role: Role, key: str) -> Entered:
        self.connections += 1
        made = Entered(
            (endpoint, role, key), self.board.handle_register(endpoint, role, key, self.connections, f"m{key}")
        )
        self.latest[made.group] = made
        return made

    @rule(gone=entered)
    def remove(self, gone: Entered) -> None:
        self.board.handle_remove(gone.registration)
        if self.latest.get(gone.group) is gone:
            del self.latest[gone.group]

    @rule(endpoint=st.sampled_from(["db", "web", "other"]), rtts=st.permutations(range(8)))
    def dial(self, endpoint: str, rtts: list[int]) -> None:
        reached = self.board.destinations(endpoint, lambda connection: rtts[connection % 8])
        expected = [
            known.registration
            for (name, role, _), known in self.latest.items()
            if (name, role) == (endpoint, Role.DESTINATION)
        ]
        assert {id(each) for each in reached} == {id(each) for each in expected}
        times = [rtts[each.connection % 8] for each in reached]
        assert times == sorted(times)

    @invariant()
    def everybody_is_listed_once_and_in_order(self) -> None:
        entries = self.board.entries()
        groups = [(entry.endpoint, entry.role, entry.certificate_key) for entry in entries]
        assert groups == sorted(self.latest)
        assert entries == [self.latest[group].registration for group in groups]


TestSwitchboardAgainstAModel = SwitchboardAgainstAModel.TestCase
TestSwitchboardAgainstAModel.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
