"""BBR, version 3 (draft-ietf-ccwg-bbr-06): a model of the path, and a state that decides what to learn next.

    STARTUP ── full ──▶ DRAIN ── drained ──▶ ProbeBW (`probe_cycle`) ◀──▶ PROBE_RTT, for 200 ms every 5 s

What the model says (bandwidth, round trip, bounds) and the state's gains give the three numbers an engine sends by:
pacing rate, send quantum, window. One acknowledgement updates model, state and numbers in the order of 5.2.3.

Where the draft leaves something open, the choice is said at the place. Not done: ECN; saving and restoring the window
around a recovery that was none of the spurious ones.
"""

from collections.abc import Callable
from math import inf

import attrs

from connet_trio.quic.congestion.constants import DRAFT, NO_BOUND, BbrConstants, State
from connet_trio.quic.congestion.controller import SendLimit, Snapshot
from connet_trio.quic.congestion.estimates import AckAggregation, FullPipe, MaxBandwidth, MinRtt
from connet_trio.quic.congestion.loss_model import LossFloor, LossRound, LossRounds, ShortTerm
from connet_trio.quic.congestion.probe_cycle import Flight, ProbeCycle
from connet_trio.quic.congestion.sampling import DeliverySampler, RateSample, RoundTrips

INITIAL_WINDOW_PACKETS = 10
SMALLEST_WINDOW_PACKETS = 4
QUANTUM_SECONDS = 0.001
LARGEST_QUANTUM_BYTES = 1 << 16
PROBE_RTT_SECONDS = 0.2
DRAIN_ROUNDS = 3
"""In which a queue is gone, or the bandwidth was overestimated (5.3.2)."""


@attrs.define
class _Undo:
    """What to go back to if the loss was none (5.5.11)."""

    bandwidth: float
    in_flight: int
    longterm: int
    window: int
    state: State | None = None


class Bbr:
    """A `Controller`."""

    def __init__(self, *, datagram_bytes: int, luck: Callable[[], float], constants: BbrConstants = DRAFT) -> None:
        """Control a path that carries datagrams of `datagram_bytes`; `luck` gives numbers from 0 to 1."""
        self._constants = constants
        self._datagram_bytes = datagram_bytes
        self._initial_window = INITIAL_WINDOW_PACKETS * datagram_bytes
        self.congestion_window = self._initial_window
        self.pacing_rate = 0.0
        self.send_quantum = 2 * datagram_bytes
        self.state = State.STARTUP
        self.bandwidth = 0.0
        """Bytes per second that are used: the largest, or what loss has brought it down to."""
        self.cycle = ProbeCycle(luck)
        self.max_bandwidth = MaxBandwidth()
        self.min_rtt = MinRtt()
        self.pipe = FullPipe()
        self.short_term = ShortTerm()
        self.floor = LossFloor(constants)
        self._sampler = DeliverySampler()
        self._rounds = RoundTrips()
        self._loss_rounds = LossRounds()
        self._aggregation = AckAggregation()
        self._undo: _Undo | None = None
        self._drain_ends = 0
        self._idle_restart = False
        self._window_before = 0
        self._probe_rtt_until: float | None = None
        self._probe_rtt_round_over = False

    # --- what happened

    @property
    def bytes_in_flight(self) -> int:
        """Sent, and neither acknowledged nor given up."""
        return self._sampler.in_flight

    @property
    def phase(self) -> str:
        """The state, for the trace."""
        return self.state.label

    @property
    def round_trip(self) -> float:
        """Seconds without a queue, infinite while there is no sample."""
        return self.min_rtt.value

    def handle_sent(self, size: int, now: float) -> Snapshot:
        """`size` bytes leave."""
        if not self._sampler.in_flight and self._sampler.app_limited_until:
            self._restart_from_idle(now)
        return self._sampler.handle_sent(size, now)

    def handle_acked(self, snapshot: Snapshot, size: int, now: float) -> None:
        """They have arrived."""
        self._sampler.handle_acked(snapshot, size, now)

    def handle_late(self, snapshot: Snapshot, size: int, now: float) -> None:
        """What was reported lost has arrived after all."""
        self._sampler.handle_late(snapshot, size, now)

    def handle_expired(self, size: int) -> None:
        """They are no longer waited for, which says nothing about the path."""
        self._sampler.handle_expired(size)

    def handle_limit(self, limit: SendLimit) -> None:
        """Sending has come to a stop, and why."""
        self._sampler.handle_limit(limit)

    def handle_lost(self, snapshot: Snapshot, size: int, number: int, now: float) -> None:
        """They are lost (5.5.10)."""
        self._sampler.handle_lost(size)
        if self._loss_rounds.handle_lost(number, self._sampler.delivered):
            self._undo = _Undo(
                self.short_term.bandwidth,
                self.short_term.in_flight,
                self.cycle.inflight_longterm,
                self.congestion_window,
            )
        lost = self._sampler.lost - snapshot.lost
        if self.cycle.is_too_high(snapshot, lost, self.loss_threshold):
            target = min(self._bdp(self.bandwidth), self.congestion_window)
            self.cycle.note_too_high(snapshot, size, lost, target, self.loss_threshold)
            if self.state is State.UP:
                self._note_undo(State.UP)
                self._enter_down(now)

    def handle_spurious(self) -> None:
        """All that was lost since the loss episode began has arrived after all (5.5.11.2)."""
        undo, self._undo = self._undo, None
        if undo is None:
            return
        self._loss_rounds.forget()
        self.pipe.restart()
        self.short_term.raise_to(undo.bandwidth, undo.in_flight)
        self.cycle.inflight_longterm = max(self.cycle.inflight_longterm, undo.longterm)
        self.congestion_window = max(self.congestion_window, undo.window)
        if undo.state is State.STARTUP and self.state is not State.STARTUP:
            self.pipe.reached = False
            if self.state is not State.PROBE_RTT:
                self._enter(State.STARTUP)
        elif undo.state is State.UP and self.state not in (State.UP, State.PROBE_RTT):
            self._enter_refill()

    def handle_persistent_congestion(self) -> None:
        """Nothing got through for several timeouts (5.6.4.4, OnEnterRTO)."""
        self._save_window()
        self.congestion_window = self._sampler.in_flight + self._datagram_bytes

    def set_datagram_bytes(self, size: int) -> None:
        """The path carries datagrams of this size from now on."""
        self._datagram_bytes = size
        self.congestion_window = max(self.congestion_window, self._smallest_window)
        self.send_quantum = max(self.send_quantum, 2 * size)

    def handle_ack_end(self, now: float) -> None:
        """An acknowledgement has been told entirely (5.2.3)."""
        sample = self._sampler.take_sample(now)
        if sample is None:
            return
        ended = self._update_model(sample, now)
        flight = self._flight(now)
        self._update_startup_and_drain(ended, flight)
        if self.pipe.reached:
            self._update_probing(sample, flight)
        self.min_rtt.update(sample.rtt, now)
        self._update_probe_rtt(now)
        if ended is not None:
            self.short_term.begin_round(sample)
        self.bandwidth = min(self.max_bandwidth.value, self.short_term.bandwidth)
        self._set_pacing(sample.rtt)
        self._set_window(sample.newly_acked, flight)

    # --- the model

    @property
    def loss_threshold(self) -> float:
        """Share of loss in a round above which too much was in flight."""
        return self._constants.loss_threshold + self.floor.value

    def _update_model(self, sample: RateSample, now: float) -> LossRound | None:
        delivered = self._sampler.delivered
        self._rounds.update(sample, delivered)
        if self._rounds.began:
            self.cycle.handle_round()
        self.short_term.note(sample)
        ended = self._loss_rounds.update(sample, delivered=delivered, lost=self._sampler.lost)
        self.max_bandwidth.update(sample)
        if ended is not None and ended.lost and not self.state.accelerates:
            bearable = self._constants.short_term_loss
            if not bearable or ended.exceeds(bearable + self.floor.value):
                self.short_term.shrink(self.max_bandwidth.value, self.congestion_window)
        self._aggregation.update(
            sample.newly_acked,
            now,
            bandwidth=self.bandwidth,
            window=self.congestion_window,
            round_count=self._rounds.count,
            full=self.pipe.reached,
        )
        self.pipe.update(sample, round_began=self._rounds.began)
        return ended

    def _bdp(self, bandwidth: float) -> int:
        """Bytes that fill the pipe without a queue."""
        return self._initial_window if self.min_rtt.value == inf else int(bandwidth * self.min_rtt.value)

    @property
    def _smallest_window(self) -> int:
        return SMALLEST_WINDOW_PACKETS * self._datagram_bytes

    def _quantize(self, in_flight: int) -> int:
        """What has to be in flight for `in_flight` to be, given that it leaves in quanta (5.6.4.2)."""
        in_flight = max(in_flight, self.send_quantum, self._smallest_window)
        return in_flight + 2 * self._datagram_bytes if self.state is State.UP else in_flight

    def _flight(self, now: float) -> Flight:
        return Flight(
            now=now,
            in_flight=self._sampler.in_flight,
            window=self.congestion_window,
            is_window_limited=self._sampler.is_window_limited,
            target=min(self._bdp(self.bandwidth), self.congestion_window),
            drained=self._quantize(self._bdp(self.max_bandwidth.value)),
            datagram_bytes=self._datagram_bytes,
            smallest_window=self._smallest_window,
            round_began=self._rounds.began,
        )

    # --- the states

    def _enter(self, state: State) -> None:
        self.floor.handle_state(state, lost=self._sampler.lost, delivered=self._sampler.delivered)
        self.state = state

    def _enter_down(self, now: float) -> None:
        self._loss_rounds.forget()
        self.short_term.forget_round()
        self.cycle.begin_down(now)
        self._rounds.restart(self._sampler.delivered)
        self._enter(State.DOWN)

    def _enter_refill(self) -> None:
        self.short_term.reset()
        self.cycle.begin_refill()
        self._rounds.restart(self._sampler.delivered)
        self._enter(State.REFILL)

    def _enter_up(self, sample: RateSample, flight: Flight) -> None:
        self.cycle.begin_up(flight)
        self._rounds.restart(self._sampler.delivered)
        self.pipe.restart(sample.rate)
        self._enter(State.UP)

    def _update_startup_and_drain(self, ended: LossRound | None, flight: Flight) -> None:
        if self.state is State.STARTUP:
            if ended is not None and not self.pipe.reached and ended.ends_startup(self._constants.loss_threshold):
                self._note_undo(State.STARTUP)
                self.pipe.reached = True
                self.cycle.inflight_longterm = max(self._bdp(self.bandwidth), self.short_term.latest_in_flight)
            if self.pipe.reached:
                self._enter(State.DRAIN)
                self._drain_ends = self._rounds.count + DRAIN_ROUNDS
        if self.state is State.DRAIN:
            drained = flight.in_flight <= self._quantize(self._bdp(self.bandwidth))
            if drained or self._rounds.count > self._drain_ends:
                self._enter_down(flight.now)

    def _update_probing(self, sample: RateSample, flight: Flight) -> None:
        if self.cycle.adapt(sample, flight, self.state, self.max_bandwidth, self.loss_threshold):
            self._enter_refill()
            return
        match self.cycle.next_state(self.state, sample, flight, self.pipe):
            case State.DOWN:
                self._enter_down(flight.now)
            case State.CRUISE:
                self._enter(State.CRUISE)
            case State.REFILL:
                self._enter_refill()
            case State.UP:
                self._enter_up(sample, flight)

    def _note_undo(self, state: State) -> None:
        if self._undo is not None:
            self._undo.state = state

    # --- the round trip, 5.3.4

    def _update_probe_rtt(self, now: float) -> None:
        if self.state is not State.PROBE_RTT and self.min_rtt.is_due and not self._idle_restart:
            self._save_window()
            self._enter(State.PROBE_RTT)
            self._probe_rtt_until = None
            self.cycle.end_probe()
            self._rounds.restart(self._sampler.delivered)
        if self.state is State.PROBE_RTT:
            self._sampler.mark_app_limited()  # the rate of these rounds is ours, not the path's
            if self._probe_rtt_until is not None:
                self._probe_rtt_round_over |= self._rounds.began
                if self._probe_rtt_round_over:
                    self._leave_probe_rtt(now)
            elif self._sampler.in_flight <= self._probe_rtt_window:
                self._probe_rtt_until, self._probe_rtt_round_over = now + PROBE_RTT_SECONDS, False
                self._rounds.restart(self._sampler.delivered)
        self._idle_restart = False

    @property
    def _probe_rtt_window(self) -> int:
        return max(int(State.PROBE_RTT.window_gain * self._bdp(self.bandwidth)), self._smallest_window)

    def _leave_probe_rtt(self, now: float) -> None:
        if self._probe_rtt_until is None or now <= self._probe_rtt_until:
            return
        self.min_rtt.postpone(now)
        self.congestion_window = max(self.congestion_window, self._window_before)
        self.short_term.reset()
        if self.pipe.reached:
            self._enter_down(now)
            self._enter(State.CRUISE)  # what is in flight is below the BDP already
        else:
            self._enter(State.STARTUP)

    def _restart_from_idle(self, now: float) -> None:
        """Nothing is in flight, since there was nothing to send: 5.4.1."""
        self._idle_restart = True
        self._aggregation.restart(now)
        if self.state.probes_bandwidth:
            self.pacing_rate = self.bandwidth * self._constants.pacing_margin
        elif self.state is State.PROBE_RTT:
            self._leave_probe_rtt(now)

    # --- the numbers, 5.6

    def _set_pacing(self, rtt: float) -> None:
        if not self.bandwidth:
            rate = State.STARTUP.pacing_gain * self._initial_window / max(rtt, QUANTUM_SECONDS)
        else:
            rate = self.state.pacing_gain * self.bandwidth * self._constants.pacing_margin
        if self.pipe.reached or rate > self.pacing_rate:
            self.pacing_rate = rate
        quantum = min(int(self.pacing_rate * QUANTUM_SECONDS), LARGEST_QUANTUM_BYTES)
        self.send_quantum = max(quantum, 2 * self._datagram_bytes)

    def _set_window(self, newly_acked: int, flight: Flight) -> None:
        largest = self._quantize(int(self.state.window_gain * self._bdp(self.bandwidth)) + int(self._aggregation.value))
        window = self.congestion_window
        if self.pipe.reached:
            window = min(window + newly_acked, largest)
        elif window < largest or self._sampler.delivered < self._initial_window:
            window += newly_acked
        window = max(window, self._smallest_window)
        if self.state is State.PROBE_RTT:
            window = min(window, self._probe_rtt_window)
        self.congestion_window = min(window, max(self._window_cap(flight), self._smallest_window))

    def _window_cap(self, flight: Flight) -> int:
        if self.state in (State.CRUISE, State.PROBE_RTT):
            bound = self.cycle.headroom(flight)
        elif self.state.probes_bandwidth:
            bound = self.cycle.inflight_longterm
        else:
            bound = NO_BOUND
        return min(bound, self.short_term.in_flight)

    def _save_window(self) -> None:
        if self.state is State.PROBE_RTT:
            self._window_before = max(self._window_before, self.congestion_window)
        else:
            self._window_before = self.congestion_window
