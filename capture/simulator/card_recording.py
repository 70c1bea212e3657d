"""One recording of the simulated card, from RECORD_START to its end: samples in, data packets out at their own time."""

from __future__ import annotations

import math
import socket
import threading
import time
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float64, Int16

from capture.dca1000_wire import StatusBit
from capture.simulator.datagrams import BATCH, DatagramSender, Packetiser, Packets
from capture.simulator.faults import RecordingTruth
from capture.simulator.lvds import FrameMaker, RadarRun
from capture.simulator.packet_faults import PacketFaults
from pipeline.card_config import throughput_mbps

if TYPE_CHECKING:
    from capture.simulator.card import SimulatedCard

TAIL_HOLD_S = 2.0  # seen on a real card: the last partial packet comes this long after the last sample
_GATHER_S = 1e-3  # wall time over which packets are gathered for one system call
_LATE_S = 5e-3  # a frame that begins to leave so much too late was not made in time


class CardRecording:
    """A thread that streams. `stop` is RECORD_STOP; `abandon` ends it at once and waits until it has."""

    def __init__(self, card: SimulatedCard, number: int, truth: RecordingTruth, sender: DatagramSender) -> None:
        self.error: BaseException | None = None
        self._card, self._truth, self._sender = card, truth, sender
        self._clock, self._wake, self._plan = card.clock, card.wake, card.faults
        payload = self._plan.payload_bytes or card.packet_config.payload_bytes
        self._packetiser = Packetiser(payload, self._plan.first_sequence, self._plan.first_byte_count)
        self._faults = PacketFaults(self._plan, number, truth)
        self._strays = np.random.default_rng([self._plan.seed, number, 1])
        self._bits_per_s = throughput_mbps(card.packet_config.delay_us) * 1e6
        self._started_s = self._clock.now_s()
        self._wire_free_s = self._started_s
        self._last_sample_s: float | None = None
        self._stop_s: float | None = None
        self._abandoned = False
        self._thread = threading.Thread(target=self._run, name=f"card-recording-{number}", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """RECORD_STOP: what the card holds is still sent."""
        with self._wake:
            if self._stop_s is None:
                self._stop_s = self._clock.now_s()
            self._wake.notify_all()

    def abandon(self) -> None:
        """End at once, sending nothing more."""
        with self._wake:
            self._abandoned = True
            self._wake.notify_all()
        self._thread.join()

    @property
    def unplugged(self) -> bool:
        """Whether the plan has pulled the card's plug by now."""
        return self._past(self._plan.unplug_card_s)

    def _past(self, after_s: float | None) -> bool:
        return after_s is not None and self._clock.now_s() - self._started_s >= after_s

    def _ended(self) -> bool:
        return self._abandoned or self._stop_s is not None or self.unplugged

    # --- the recording's life ----------------------------------------------------------------------------------------
    def _run(self) -> None:
        try:
            streamed: tuple[RadarRun, int] | None = None  # the run streamed last, and its first frame not sent
            while run := self._await_run(streamed):
                streamed = run, self._stream(run, streamed)
            if not self._abandoned and not self.unplugged:
                self._send(self._packetiser.flush())
                self._send_now(*self._faults.rest())
                if not self._past(self._plan.silent_after_s):
                    self._card.send_status(1 << StatusBit.RECORD_COMPLETED)
        except BaseException as error:  # reported by the rig when it stops
            self.error = error

    def _await_run(self, streamed: tuple[RadarRun, int] | None) -> RadarRun | None:
        """The run to stream next; None when the recording is over: ended, or TAIL_HOLD_S without a sample after some."""
        card = self._card
        timer_s = self._clock.patience_s(card.device_clock.true_duration_s(float(card.fpga.timer_s)))
        complain_at_s = time.monotonic() + timer_s
        with self._wake:
            while not self._ended():
                run = card.radar_run()
                if (
                    run
                    and card.hears_lvds()
                    and (streamed is None or run is not streamed[0] or not run.over(streamed[1]))
                ):
                    return run
                if self._last_sample_s is not None:
                    flush_s = self._last_sample_s + card.device_clock.true_duration_s(TAIL_HOLD_S)
                    if self._clock.now_s() >= flush_s:
                        return None
                    self._clock.wait_until(flush_s, self._wake)
                else:
                    if time.monotonic() >= complain_at_s:
                        card.send_status(card.no_data_status())
                        complain_at_s = math.inf
                    self._wake.wait(0.05)
        return None

    def _stream(self, run: RadarRun, streamed: tuple[RadarRun, int] | None) -> int:
        """Send frames of `run` until it or the recording is over; returns the first frame that was not begun."""
        index = streamed[1] if streamed is not None and streamed[0] is run else self._first_whole_frame(run)
        maker = FrameMaker(run, self._card.scene, self._card.seed, index, self._card.impairments)
        try:
            while (start_s := self._await_frame(run, index)) is not None:
                words = maker.next(index)
                self._truth.behind += bool(self._clock.speed) and self._clock.now_s() > start_s + _LATE_S
                self._stream_frame(run, start_s, words)
                index += 1
        finally:
            maker.close()
        return index

    def _first_whole_frame(self, run: RadarRun) -> int:
        """The card joins a radar that already sends at its next frame."""
        with self._wake:
            index = 0
            while (
                (start_s := run.frame_start_s(index)) is not None and start_s < self._started_s and not run.over(index)
            ):
                index += 1
            return index

    def _await_frame(self, run: RadarRun, index: int) -> float | None:
        """When frame `index` began, once it has; None if it never will, or the recording ended."""
        with self._wake:
            while not self._ended() and not run.over(index):
                start_s = run.frame_start_s(index)
                if start_s is None:
                    self._wake.wait(0.05)
                elif self._clock.now_s() >= start_s:
                    return start_s
                else:
                    self._clock.wait_until(start_s, self._wake)
        return None

    def _stream_frame(self, run: RadarRun, start_s: float, words: Int16[np.ndarray, " word"]) -> None:
        """Take a frame chirp by chirp as the radar sends it, and send the packets it fills."""
        chirps = run.waveform.chirps_per_frame
        per_chirp = len(words) // chirps
        arrives_s = start_s + run.chirps_end_s(1) * np.arange(1, chirps + 1)
        leaves_s = self._leaving_times(arrives_s, per_chirp * 2)
        gather_s = _GATHER_S * self._clock.speed
        sent = 0
        while sent < chirps and not self._abandoned and not self.unplugged:
            stop_s = self._stop_s
            if not self._clock.speed:
                ready = chirps  # nobody's clock runs: frames are whole
            elif stop_s is not None:
                ready = max(sent, int(np.searchsorted(arrives_s, stop_s, "right")))
            else:
                ready = int(np.searchsorted(leaves_s, self._clock.now_s(), "right"))
            if ready > sent:
                self._send(self._packetiser.add(words[sent * per_chirp : ready * per_chirp]))
                sent = ready
                self._last_sample_s = max(float(arrives_s[sent - 1]), self._clock.now_s())
            if stop_s is not None:
                break
            if sent < chirps:
                with self._wake:
                    if self._stop_s is None and not self._abandoned:
                        self._clock.wait_until(float(min(leaves_s[sent] + gather_s, leaves_s[-1])), self._wake)
        self._truth.frames += sent == chirps

    def _leaving_times(
        self, arrives_s: Float64[np.ndarray, " chirp"], chirp_bytes: int
    ) -> Float64[np.ndarray, " chirp"]:
        """When each chirp's bytes leave: not before they came, nor faster than the packet delay lets them, nor in a stall."""
        for begin_s, length_s in self._plan.stalls:
            begin_s += self._started_s
            arrives_s = np.where(
                (arrives_s >= begin_s) & (arrives_s < begin_s + length_s), begin_s + length_s, arrives_s
            )
        wire_s = chirp_bytes * 8 / self._bits_per_s * np.arange(len(arrives_s))
        leaves_s = wire_s + np.maximum(np.maximum.accumulate(arrives_s - wire_s), self._wire_free_s)
        self._wire_free_s = float(leaves_s[-1])
        return leaves_s

    # --- out ---------------------------------------------------------------------------------------------------------
    def _send(self, packets: Packets) -> None:
        self._truth.packets, self._truth.stream_bytes = self._packetiser.packets, self._packetiser.stream_bytes
        if self._past(self._plan.silent_after_s):
            return
        if self._plan.stray:
            self._send_strays(int((self._strays.random(len(packets.address)) < self._plan.stray).sum()))
        self._send_now(*self._faults.depart(packets))

    def _send_now(self, address: np.ndarray, length: np.ndarray) -> None:
        for at in range(0, len(address), BATCH):
            batch = slice(at, at + BATCH)
            while not self._sender.room(len(address[batch]), wait_for_receiver=self._clock.speed != 1):
                if self._abandoned:
                    return
            self._sender.send(address[batch], length[batch])
            self._truth.datagrams += len(address[batch])

    def _send_strays(self, count: int) -> None:
        """Datagrams that look like data packets but come from another address than the card's."""
        if not count:
            return
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            if self._sender.host_ip.startswith("127."):
                other.bind(("127.0.0.77", 0))
            for _ in range(count):
                other.sendto(
                    self._strays.bytes(self._packetiser.payload_bytes), (self._sender.host_ip, self._sender.port)
                )
        self._truth.strays += count
