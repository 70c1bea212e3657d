"""What goes wrong on a simulated rig, when, and the exact truth of it: seeded, so that a test can ask for it again."""

from dataclasses import dataclass, field

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from capture.dca1000_wire import CommandCode
from pipeline.errors import PipelineError

Share = Field(0.0, ge=0, le=1)


class FaultPlan(BaseModel):
    """Faults to inject; the default injects none. Shares are probabilities a packet; times are rig seconds.

    What happens to packet number k of recording number r depends on `seed`, r and k alone, never on timing.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = 0
    # --- data packets ---
    loss: float = Share
    loss_burst: int = Field(1, ge=1, description="packets lost in a row, each time some are")
    lose_packets: tuple[int, ...] = Field((), description="numbers (from 1) of packets that are lost for certain")
    duplicate: float = Share
    reorder: float = Share
    reorder_by: int = Field(4, ge=1, description="a reordered packet comes 1 to this many packets later")
    late: float = Share
    late_by: int = Field(100, ge=1, description="a late packet comes this many packets later")
    truncate: float = Share
    stray: float = Field(0.0, ge=0, le=1, description="packets of another sender mixed in, for each of the card's own")
    stalls: tuple[tuple[float, float], ...] = Field((), description="(seconds into a recording, for how many seconds)")
    payload_bytes: int | None = Field(None, ge=8, description="payload of a full packet, whatever the host configured")
    first_sequence: int = Field(1, ge=0, lt=2**32, description="sequence number of a recording's first packet")
    first_byte_count: int = Field(0, ge=0, lt=2**48, description="byte count of a recording's first packet")
    # --- the card ---
    card_dead: bool = Field(False, description="the card answers nothing")
    no_lvds: bool = Field(False, description="no samples reach the card, which says so after its timer")
    silent_after_s: float | None = Field(None, ge=0, description="data stops so long into a recording, without a word")
    unplug_card_s: float | None = Field(None, ge=0, description="the card is gone so long into a recording")
    fail_commands: tuple[str, ...] = Field((), description="card commands answered with failure, by name")
    ignore_commands: dict[str, int] = Field({}, description="card commands left unanswered: name -> how many times")
    status_before_reply: int | None = Field(None, ge=0, le=0xFFFF, description="asynchronous status put before replies")
    # --- the radar's serial line ---
    serial_garbage: float = Field(0.0, ge=0, le=1, description="share of replies with a line of noise before them")
    radar_silent: bool = Field(False, description="the radar answers nothing")
    radar_fail: tuple[str, ...] = Field((), description="radar commands answered with Error -1, by name")
    unplug_radar_after: int | None = Field(None, ge=0, description="the serial port is gone after so many lines")
    # --- the trigger board ---
    trigger_silent: bool = Field(False, description="the trigger board answers nothing")
    trigger_garbage: float = Field(0.0, ge=0, le=1, description="share of its lines with a line of noise before them")
    trigger_lose_lines: float = Field(0.0, ge=0, le=1, description="share of its pulse lines that the host never gets")
    trigger_reboot_s: float | None = Field(None, ge=0, description="the board restarts so long into its first run")
    trigger_rate: float = Field(1.0, gt=0, description="pulses come at so many times the rate that was asked for")
    radar_miss: float = Field(0.0, ge=0, le=1, description="share of pulses that do not reach the radar")
    radar_miss_pulses: tuple[int, ...] = Field((), description="numbers of pulses that do not reach the radar")
    # --- the camera ---
    camera_absent: bool = Field(False, description="no camera is attached")
    camera_late_s: float = Field(0.0, ge=0, description="the camera's first frame comes so much later")
    camera_drop: float = Field(0.0, ge=0, le=1, description="share of frames of each stream that never arrive")
    camera_unplug_s: float | None = Field(None, ge=0, description="the camera is gone so long after its first frame")
    camera_replug_s: float | None = Field(
        None, ge=0, description="and is back, its clock restarted, so long after that"
    )
    camera_freeze_s: float | None = Field(
        None, ge=0, description="from then on it sends the same picture over and over"
    )
    camera_no_depth: bool = Field(False, description="the depth stream sends nothing")
    camera_no_metadata: bool = Field(False, description="frames come without metadata, as from an unpatched kernel")
    camera_usb2: bool = Field(False, description="the camera is on a USB 2 link")

    def model_post_init(self, _context: object) -> None:
        for name in (*self.fail_commands, *self.ignore_commands):
            if name not in CommandCode.__members__:
                raise PipelineError(
                    f"There is no card command {name!r}; choose from {', '.join(CommandCode.__members__)}."
                )


def fault_plan(fields: dict[str, object]) -> FaultPlan:
    """A plan from settings; PipelineError names the field that is wrong."""
    try:
        return FaultPlan.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        raise PipelineError(f"Fault plan: {'.'.join(map(str, first['loc']))}: {first['msg']}.") from None


@dataclass
class RecordingTruth:
    """What one recording of the simulated card really sent. Ranges are half-open byte ranges of the card's stream."""

    frames: int = 0
    stream_bytes: int = 0
    packets: int = 0
    datagrams: int = 0
    duplicates: int = 0
    reordered: int = 0
    strays: int = 0
    behind: int = 0  # frames that could not be made in time and were sent late
    lost: list[tuple[int, int]] = field(default_factory=list)
    late: list[tuple[int, int]] = field(default_factory=list)
    truncated: list[tuple[int, int]] = field(default_factory=list)

    def missing(self) -> list[tuple[int, int]]:
        """Byte ranges the host never got, lost and cut off ones merged, ascending."""
        merged: list[tuple[int, int]] = []
        for start, stop in sorted(self.lost + self.truncated):
            if merged and start <= merged[-1][1]:
                merged[-1] = (merged[-1][0], max(stop, merged[-1][1]))
            else:
                merged.append((start, stop))
        return merged
