"""The recorder process: one session from preflight to a sealed recording.

    python -m capture.recorder DATA_ROOT RECORDING_ID

Started by `capture.session.launch`, which has written `sessions/<id>/request.json`. SIGTERM, SIGINT or a file `stop` in the
session's folder end the recording early; it is sealed all the same. `docs/decisions/0001-recorder-process.md` says why.
"""

import contextlib
import fcntl
import logging
import os
import signal
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from capture.companions import Companions, connected_board, triggered
from capture.dca1000 import StatusBit
from capture.finishing import finish
from capture.firmware.schedule import left_out
from capture.preflight import disk_check
from capture.receiver import Receiver, ReceiverCounters, ReceiverSettings
from capture.rig import Rig, Staging, arm, open_rig, rig_lock, rig_wires
from capture.script import cue
from capture.session import RecorderProgress, SessionOrder, session_folder
from pipeline.catalogue import update_catalogue
from pipeline.cfg_text import RadarConfig
from pipeline.constraints import check_config, require
from pipeline.errors import PipelineError
from pipeline.files import write_atomic
from pipeline.manifest import RecordingManifest, Segment, Status
from pipeline.recording import Recording, create_recording
from pipeline.sealing import seal
from pipeline.settings import RigSettings, waveform_config
from pipeline.waveform import Waveform

log = logging.getLogger("recorder")

PULSES_OVER_S = 0.5  # after the last pulse's time, until its frame is in
TAIL_HOLD_S = 2.0  # the card keeps a last partial packet for so long before it sends it (hardware.md section 1)
NO_DATA_CHECKLIST = (
    "check that lvdsStreamCfg is `-1 0 1 0`, that the radar's SOP switches are set to functional mode, that the card's SW2.3 "
    "is set to two lanes (LVDS mode), that the 60-pin cable sits firmly, and that no firewall blocks UDP on the card's network"
)


@dataclass
class Session:
    """A recorder's own view of its session: tells others how far it is, hears whether to stop."""

    root: Path
    order: SessionOrder
    progress: RecorderProgress = field(init=False)
    _stop_signalled: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self.progress = RecorderProgress(recording_id=self.order.recording_id, simulated=self.order.rig.simulated)

    def tell(self, **changes: object) -> None:
        """Replace the progress file."""
        if changes.get("message") not in (None, self.progress.message):
            log.info("%s", changes["message"])
        self.progress = self.progress.model_copy(update=changes)
        path = session_folder(self.root, self.order.recording_id) / "progress.json"
        temporary = path.with_suffix(".tmp")
        with contextlib.suppress(OSError):  # a full disk must not end a recording for want of a progress line
            temporary.write_text(self.progress.model_dump_json())
            temporary.replace(path)

    def signal_stop(self, *_: object) -> None:
        """Signal handler: end the recording early."""
        self._stop_signalled = True

    def stop_asked(self) -> bool:
        """Whether somebody wants the recording to end."""
        return self._stop_signalled or (session_folder(self.root, self.order.recording_id) / "stop").exists()


def record(session: Session) -> Recording:
    """Run one session; returns the sealed recording. Raises PipelineError when there is nothing worth keeping as a success.

    What arrived before a failure is sealed as `abort` with the failure as its reason, and the error is raised after that.
    """
    root, order = session.root, session.order
    settings = order.settings
    config = waveform_config(root, order.request.waveform or settings.waveform)
    seconds, acts = order.seconds, order.acts
    session.tell(seconds_asked=seconds, message="Looking for the rig.")
    staging = Staging(order.request.participant, tuple((act.action, act.start_s, act.stop_s) for act in acts))
    notes: list[str] = []
    with rig_lock(root, settings):
        require([disk_check(root, settings, config, seconds)])
        with (
            rig_wires(settings, staging) as wires,
            open_rig(settings, wires) as rig,
            connected_board(settings, wires, notes) as board,
        ):
            plan = _plan(config, seconds, settings, board is not None)
            rules = check_config(
                plan.config, firmware=rig.radar.firmware.kind, packet_delay_us=settings.packet_delay_us
            )
            require(rules)
            folder = create_recording(root, _manifest(order, plan.config, rig, notes))
            write_atomic(folder / "radar.cfg", plan.config.text)
            companions = Companions(root, folder, settings, wires, board)
            session.tell(frames_asked=plan.frames, message="Starting the camera.")
            try:
                companions.open()
                ending = _record_into(folder, session, rig, companions, plan)
            finally:
                companions.close()
    ending.notes = (*ending.notes, *companions.notes)
    ending.counters |= companions.counters
    session.tell(state="sealing", message="Matching pulses, radar frames and pictures; computing digests.")
    finish(folder, acts)
    recording = seal(folder, status=ending.status, reason=ending.reason, counters=ending.counters, notes=ending.notes)
    update_catalogue(root)
    if ending.error is not None:
        raise ending.error
    return recording


@dataclass(frozen=True)
class Plan:
    """How much to record: `frames` are those to come, `pulses` those the board is asked for (None: no board), at `hz`."""

    config: RadarConfig
    frames: int
    hz: float
    pulses: int | None = None


def _plan(config: RadarConfig, seconds: float, settings: RigSettings, board: bool) -> Plan:
    if not board and config.waveform.trigger == "hardware":
        raise PipelineError(
            f"{config.waveform.name} waits for trigger pulses (frameCfg trigger 2) and no trigger board answers; attach it, or "
            "set frameCfg's trigger to 1."
        )
    if not board:
        hz = 1 / config.waveform.frame_period_s
        frames = max(1, round(seconds * hz))
        return Plan(config, min(frames, config.waveform.frames or frames), hz)
    config, hz = triggered(config)
    pulses = max(1, round(seconds * hz))
    kept = sum(not (settings.trigger.signature and left_out(number, round(1000 * hz))) for number in range(pulses))
    return Plan(config, kept, hz, pulses)


@dataclass
class Ending:
    """How a recording ended."""

    status: Status = "success"
    reason: str = ""
    counters: dict[str, int | float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    error: PipelineError | None = None


def _manifest(order: SessionOrder, config: RadarConfig, rig: Rig, notes: list[str]) -> RecordingManifest:
    action = order.request.action
    return RecordingManifest(
        id=order.recording_id,
        simulated=order.rig.simulated,
        participant=order.request.participant,
        room=order.request.room or order.rig.room,
        segments=(Segment(action=action),) if action else (),
        waveform=config.waveform,
        rig=rig.description,
        clocks={
            "host": {
                "wall_minus_monotonic_ns": time.time_ns() - time.monotonic_ns(),
                "note": "packets.bin carries both clocks; the monotonic one is primary",
            }
        },
        notes=(*config.notes, *notes),
    )


def _record_into(folder: Path, session: Session, rig: Rig, companions: Companions, plan: Plan) -> Ending:
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
                _wait_for_data(session, rig, receiver)
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


def _wait_for_data(session: Session, rig: Rig, receiver: Receiver) -> None:
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
                f"answer: {NO_DATA_CHECKLIST}."
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
        if plan.pulses is not None and (now - begin) * speed > plan.pulses / plan.hz + PULSES_OVER_S and frames:
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


def main(arguments: list[str]) -> int:
    """Run the session of `sessions/<id>/request.json`; exit code 0 done, 1 failed (the progress file says why)."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    root, recording_id = Path(arguments[0]), arguments[1]
    folder = session_folder(root, recording_id)
    order = SessionOrder.model_validate_json((folder / "request.json").read_bytes())
    session = Session(root, order)
    signal.signal(signal.SIGTERM, session.signal_stop)
    signal.signal(signal.SIGINT, session.signal_stop)
    with (folder / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        (folder / "pid").write_text(str(os.getpid()))
        session.tell(message="Started.")
        try:
            recording = record(session)
        except PipelineError as error:
            session.tell(state="failed", message=str(error))
            return 1
        except Exception as error:
            log.exception("The recorder failed")
            session.tell(
                state="failed", message=f"The recorder failed on its own: {error!r}; see {folder / 'recorder.log'}."
            )
            return 1
        status = recording.manifest.status
        session.tell(state="done", status=status, message=recording.manifest.reason or "Done.")
        return 0


if __name__ == "__main__":
    os.umask(0o022)
    sys.exit(main(sys.argv[1:]))
