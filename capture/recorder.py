"""The recorder process: one session from preflight to a sealed recording.

    python -m capture.recorder DATA_ROOT RECORDING_ID

Started by `capture.session.launch`, which has written `sessions/<id>/request.json`. SIGTERM, SIGINT or a file `stop` in the
session's folder end the recording early; it is sealed all the same. `docs/decisions/0001-recorder-process.md` says why.
"""

import fcntl
import logging
import os
import signal
import sys
import time
from pathlib import Path

from capture.companions import Companions, connected_board, left_out_of, triggered
from capture.finishing import finish
from capture.live_session import Session
from capture.preflight import disk_check
from capture.rig import Rig, Staging, open_rig, rig_lock, rig_wires
from capture.script import Act
from capture.session import SessionOrder, session_folder
from capture.streaming import Plan, record_into
from pipeline.catalogue import update_catalogue
from pipeline.cfg_text import RadarConfig
from pipeline.constraints import check_config, require
from pipeline.errors import PipelineError
from pipeline.files import write_atomic
from pipeline.manifest import RecordingManifest, Segment
from pipeline.recording import Recording, create_recording
from pipeline.sealing import seal
from pipeline.settings import RigSettings, waveform_config

log = logging.getLogger("recorder")


def record(session: Session) -> Recording:
    """Run one session; returns the sealed recording. Raises PipelineError when there is nothing worth keeping as a success.

    What arrived before a failure is sealed as `abort` with the failure as its reason, and the error is raised after that.
    """
    root, order = session.root, session.order
    settings = order.settings
    config = waveform_config(root, order.request.waveform or settings.waveform)
    seconds, acts = order.seconds, order.acts
    session.tell(seconds_asked=seconds, message="Looking for the rig.")
    staging = Staging(order.request.participant, acts or _one_act(order.request.action, seconds))
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
                ending = record_into(folder, session, rig, companions, plan)
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


def _one_act(action: str | None, seconds: float) -> tuple[Act, ...]:
    return (Act(action, 0.0, seconds),) if action else ()


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
    kept = pulses - (len(left_out_of(hz, pulses)) if settings.trigger.signature else 0)
    return Plan(config, min(kept, config.waveform.frames or kept), hz, pulses)


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
