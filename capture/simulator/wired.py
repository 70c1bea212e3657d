"""A scene recorded through the wires: a simulated radar and card in this process, and the receiver a lab would use.

The radar is configured over its serial line and the card over UDP in the recorder's own order (`capture.rig.arm`); samples
come as datagrams at the pace of the radar's clock, so packet times are this machine's. With nothing lost they are, byte for
byte, the frames that `echoes.simulate_frames` makes.
"""

import contextlib
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from capture.receiver import Receiver
from capture.reception import ReceiverResult, ReceiverSettings
from capture.rig import RigWires, arm, open_rig
from capture.simulator.impairments import Impairments
from capture.simulator.rig import CARD_IP, SimulatedRig
from capture.simulator.scene import Scene
from pipeline.cfg_text import write_cfg
from pipeline.errors import PipelineError
from pipeline.settings import RigSettings
from pipeline.waveform import Waveform

HOST_IP = "127.0.0.1"
_TRIES = 3
_SILENCE_S = 20.0  # a busy machine may take its time over a frame


@dataclass(frozen=True)
class WiredRecording:
    """What a manifest tells of a recording through the wires."""

    counters: dict[str, int | float]
    clocks: dict[str, Any]
    notes: tuple[str, ...]


def record_through_wires(
    folder: Path, scene: Scene, waveform: Waveform, seed: int, impairments: Impairments
) -> WiredRecording:
    """Write `adc.bin` and `packets.bin` of all of the waveform's frames into `folder`.

    A recording that lost packets, as happens on a machine busy with something else, is made again. Raises PipelineError
    where the third one does too, and whatever radar, card and receiver raise.
    """
    for _ in range(_TRIES):
        result, late = _recorded(folder, scene, waveform, seed, impairments)
        if result.ok and not result.counters.missing_bytes:
            break
    else:
        raise PipelineError(
            f"{_TRIES} recordings of {folder.name} through the wires lost packets ({result.sentence.rstrip('.')}); ask for fewer "
            "--jobs, or leave out --wires."
        )
    said = (f"{late} frames left the simulated radar late: this machine makes them slower than in real time.",)
    return WiredRecording(
        {**result.counters.as_dict(), "seconds": round(result.counters.seconds, 6)},
        {
            "host": {
                "wall_minus_monotonic_ns": time.time_ns() - time.monotonic_ns(),
                "note": "packets.bin carries both clocks",
            }
        },
        (*result.notes, *(said if late else ())),
    )


def _recorded(
    folder: Path, scene: Scene, waveform: Waveform, seed: int, impairments: Impairments
) -> tuple[ReceiverResult, int]:
    """One attempt: how reception ended, and how many frames the radar sent late."""
    total = waveform.frames * waveform.frame_bytes
    settings = RigSettings(kind="simulated")
    reception = ReceiverSettings(
        host_ip=HOST_IP, data_port=0, card_ip=CARD_IP, frame_bytes=waveform.frame_bytes, expected_bytes=total,
        first_packet_timeout_s=None, silence_timeout_s=None,
    )  # fmt: skip
    with Receiver(folder, reception) as receiver:
        _, data_port = receiver.open()
        with SimulatedRig(scene, seed=seed, impairments=impairments, data_port=data_port) as simulated:
            wires = RigWires(
                card_ip=simulated.card.card_ip, config_port=simulated.card.config_port, host_ip=HOST_IP, host_config_port=0,
                data_port=data_port, radar_port=simulated.radar.port, radar_baud=None,
            )  # fmt: skip
            with open_rig(settings, wires) as rig:
                arm(rig, write_cfg(waveform), settings.packet_delay_us, listen=receiver.start)
                rig.radar.start()
                _follow(receiver, simulated, waveform.frames)
                for stop in (rig.radar.stop, rig.card.record_stop):  # the card sends its last, partial packet now
                    with contextlib.suppress(PipelineError):
                        stop()
                receiver.wait(1.0)
            late = sum(truth.behind for truth in simulated.truths)
        return receiver.stop(), late


def _follow(receiver: Receiver, simulated: SimulatedRig, frames: int) -> None:
    """Until the card has sent all frames; PipelineError when it no longer sends."""
    sent, since = -1, time.monotonic()
    while not simulated.truths or simulated.truths[-1].frames < frames:
        if receiver.wait(0.02):
            return
        if simulated.card.error is not None:
            raise simulated.card.error
        so_far = receiver.progress().stream_bytes
        if so_far > sent:
            sent, since = so_far, time.monotonic()
        elif time.monotonic() - since > _SILENCE_S:
            raise PipelineError(f"The simulated card sent nothing for {_SILENCE_S:g} s after {so_far} bytes.")
