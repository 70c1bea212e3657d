"""The middle of a recording: the rig is armed, data is received and watched until the session is over."""

import contextlib
import time
from dataclasses import dataclass, field
from pathlib import Path

from capture.companions import Companions
from capture.dca1000 import StatusBit
from capture.live_session import Session
from capture.receiver import Receiver, ReceiverCounters, ReceiverSettings
from capture.rig import Rig, arm
from capture.script import cue
from pipeline.cfg_text import RadarConfig
from pipeline.errors import PipelineError
from pipeline.manifest import Status
from pipeline.waveform import Waveform

PULSES_OVER_S = 0.5  # after the last pulse's time, and after the last byte, until all frames are in
TAIL_HOLD_S = 2.0  # the card keeps a last partial packet for so long before it sends it (hardware.md section 1)
NO_DATA_CHECKLIST = (
    "check that lvdsStreamCfg is `-1 0 1 0`, that the radar's SOP switches are set to functional mode, that the card's SW2.3 "
    "is set to two lanes (LVDS mode), that the 60-pin cable sits firmly, and that no firewall blocks UDP on the card's network"
)
NO_PULSE_CHECK = (
    "; the radar waits for trigger pulses: check the wire to SYNC_IN (docs/trigger-board.md), or do without the board "
    '(trigger.port = "none" in rig.toml)'
)


@dataclass(frozen=True)
class Plan:
    """How much to record: `frames` are those to come, `pulses` those the board is asked for (None: no board), at `hz`."""

    config: RadarConfig
    frames: int
    hz: float
    pulses: int | None = None


@dataclass
class Ending:
    """How a recording ended."""

    status: Status = "success"
    reason: str = ""
    counters: dict[str, int | float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    error: PipelineError | None = None


def record_into(folder: Path, session: Session, rig: Rig, companions: Companions, plan: Plan) -> Ending:
    """Arm, receive, stop. Every way out leaves the receiver stopped and its files consistent."""
    settings, waveform, wires = session.order.settings, plan.config.waveform, rig.wires
    receiver = Receiver(
        folder,
        ReceiverSettings(
            host_ip=wires.host_ip,
            data_port=wires.data_port,
            card_ip=wires.card_ip,
            frame_bytes=waveform.frame_bytes,
            reserve_bytes=settings.reserve_bytes,
            first_packet_timeout_s=None,  # the recorder watches both: it also hears the card
            silence_timeout_s=None,
        ),
    )
    with receiver:
        try:
            receiver.open()
            session.tell(state="arming", message="Configuring radar and card.")
            arm(rig, plan.config.text, settings.packet_delay_us, listen=receiver.start)
            try:
                rig.radar.start()
                if plan.pulses is not None:
                    companions.start_pulses(plan.hz, plan.pulses)
                _wait_for_data(session, rig, receiver, plan)
                session.tell(state="recording", message=f"Recording {plan.frames} frames.")
                ending = _follow(session, rig, receiver, companions, plan)
            finally:
                _disarm(rig)
            if not receiver.wait(0):
                _wait_for_tail(rig)
        except PipelineError as error:
            ending = Ending(status="abort", reason=str(error), error=error)
        result = receiver.stop()
    if not result.ok and ending.error is None:
        ending = Ending(status="abort", reason=result.sentence, error=PipelineError(result.sentence))
    ending.counters = {**result.counters.as_dict(), "seconds": round(result.counters.seconds, 6)}
    ending.notes = (*result.notes, *_card_notes(rig))
    so_far = _so_far(result.counters, waveform)
    session.tell(**so_far)
    if plan.pulses is not None and ending.status == "success":
        ending.reason = f"{plan.pulses} pulses asked for {plan.frames} frames; {so_far['frames']} came."
    return ending


def _disarm(rig: Rig) -> None:
    """Stop the radar, then the card; one that does not hear must not keep the other running."""
    for stop in (rig.radar.stop, rig.card.record_stop):
        with contextlib.suppress(PipelineError):
            stop()


def _so_far(counters: ReceiverCounters, waveform: Waveform) -> dict[str, int]:
    return {
        "frames": counters.stream_bytes // waveform.frame_bytes,
        "packets": counters.packets,
        "stream_bytes": counters.stream_bytes,
        "missing_bytes": counters.missing_bytes,
        "kernel_drops": counters.kernel_drops,
    }


def _wait_for_data(session: Session, rig: Rig, receiver: Receiver, plan: Plan) -> None:
    patience_s = session.order.settings.first_packet_timeout_s
    deadline = time.monotonic() + patience_s
    while not receiver.wait_first_packet(0.1):
        if any(StatusBit.NO_LVDS_DATA in status.bits for status in rig.card.poll()):
            raise PipelineError(
                f"The card answers but sees no samples from the radar (no LVDS data): {NO_DATA_CHECKLIST}."
            )
        if session.stop_asked():
            raise PipelineError("The session was stopped before any radar data arrived.")
        if time.monotonic() > deadline:
            raise PipelineError(
                f"No data packet came within {patience_s:g} s of the start, though card and radar "
                f"answer: {NO_DATA_CHECKLIST}{NO_PULSE_CHECK if plan.pulses is not None else ''}."
            )


def _follow(session: Session, rig: Rig, receiver: Receiver, companions: Companions, plan: Plan) -> Ending:
    """Watch the stream until enough whole frames are in, the pulses are over, somebody stops it, it falls silent or the disk
    fails.
    """
    waveform, settings, speed = plan.config.waveform, session.order.settings, rig.wires.speed
    begin = last_growth = time.monotonic()
    last_bytes = 0
    while True:
        time.sleep(0.05)
        now, counters = time.monotonic(), receiver.progress()
        if counters.stream_bytes > last_bytes:
            last_bytes, last_growth = counters.stream_bytes, now
        frames = counters.stream_bytes // waveform.frame_bytes
        told = cue(session.order.acts, (now - begin) * speed)
        session.tell(seconds=now - begin, cue=told, **companions.progress(), **_so_far(counters, waveform))
        rig.card.poll()
        if counters.stream_bytes >= plan.frames * waveform.frame_bytes:
            return Ending(reason=f"{plan.frames} frames were asked for and arrived.")
        if receiver.wait(0):
            return Ending()  # it ended by itself: its own result says why
        if session.stop_asked():
            return Ending(status="abort", reason=f"Stopped by request after {frames} of {plan.frames} frames.")
        over_s = (now - begin) * speed - plan.pulses / plan.hz if plan.pulses is not None else 0.0
        if frames and min(over_s, (now - last_growth) * speed) > PULSES_OVER_S:
            return Ending()
        if now - last_growth > settings.silence_timeout_s:
            if waveform.frames and frames >= plan.frames - 1:
                return Ending(reason=f"The radar sent its {waveform.frames} frames and ended.")
            why = companions.board_problem or "check power and cables of radar and card."
            error = PipelineError(f"The stream fell silent after {frames} of {plan.frames} frames; {why}")
            return Ending(status="abort", reason=str(error), error=error)


def _wait_for_tail(rig: Rig) -> None:
    """Give the card time to send the partial packet it holds; it says `record completed` with it."""
    deadline = time.monotonic() + (TAIL_HOLD_S + 0.5) / max(rig.wires.speed, 0.1)
    while time.monotonic() < deadline:
        rig.card.poll(0.1)  # it may also have come between RECORD_STOP and its answer: look at all of them
        if any(StatusBit.RECORD_COMPLETED in status.bits for status in rig.card.statuses):
            time.sleep(0.05)  # the packet travels on another port
            return


def _card_notes(rig: Rig) -> tuple[str, ...]:
    faults = [sentence for status in rig.card.statuses if status.is_fault for sentence in status.sentences]
    return tuple(f"The card reported: {sentence}." for sentence in dict.fromkeys(faults))
