"""Where data lies, which rig records, what may be removed: typed, printable, read from `<root>/*.toml` and the environment.

A data root without a `rig.toml` records the simulated rig, and everything derived from that says so. One without a `store.toml`
has no object store.
"""

import os
import tomllib
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline.camera_frames import Privacy
from pipeline.cfg_text import RadarConfig, parse_cfg, read_cfg, write_cfg
from pipeline.errors import PipelineError
from pipeline.waveform import PRESETS

DEFAULT_ROOT = Path("data")
Settings = TypeVar("Settings", bound=BaseModel)


class SimulatedClock(BaseModel):
    """What a simulated device's clock reads: so far from true time at the rig's start, so much too fast."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    offset_s: float = 0.0
    drift_ppm: float = 0.0


class SimulatorSettings(BaseModel):
    """The simulated rig: its scene's seed, how fast its clock runs, and a seeded plan of faults."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = 0
    people: int = Field(1, ge=0, le=2, description="0: nobody is there; 2: somebody else walks about")
    speed: float = Field(1.0, gt=0, description="simulated seconds a second")
    firmware: Literal["mmwDemo", "studio-cli"] = Field("studio-cli", description="the radar image it answers as")
    faults: dict[str, Any] = Field(default_factory=dict, description="fields of capture.simulator.faults.FaultPlan")
    clocks: dict[Literal["radar", "card", "board", "camera"], SimulatedClock] = Field(
        default_factory=dict, description="devices whose clock is another than the simulated rig gives them"
    )


class CameraSettings(BaseModel):
    """The camera of a rig. On a simulated rig `realsense` is the simulated one, behind the same driver."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: Literal["none", "realsense", "playback", "video", "webcam"] = Field(
        "realsense", description="playback: a .bag or .db3; video: a video file; webcam: a device of this machine"
    )
    path: str | None = Field(None, description="of a playback or video file (in the data root), or a webcam's device")
    serial: str | None = Field(None, description="which RealSense, where there are several")
    width: int = Field(640, gt=0)
    height: int = Field(480, gt=0)
    rate_hz: int = Field(30, gt=0, le=90)
    depth: bool = True
    inter_cam_sync_mode: int = Field(0, ge=0, le=258, description="0 free, 1 master, 2 slave, 3 full slave, 4+ genlock")
    privacy: Privacy = Field(
        "keep", description="keep | faces-blurred | skeleton-only (pictures go once labels passed)"
    )


class TriggerSettings(BaseModel):
    """The trigger board of a rig: pulses to radar and camera. Without one the radar runs by its own clock."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    port: str = Field("auto", description="serial device of the board, auto, or none")
    radar_us: int = Field(2, ge=1, le=4, description="width of the radar's pulse (SYNC_IN takes 25 ns to 4 us)")
    camera_us: int = Field(150, ge=100, le=10_000, description="width of the camera's pulse (100 us or more)")
    camera_delay_us: int = Field(0, ge=0, le=1_000_000, description="from the radar's pulse to the camera's")
    signature: bool = Field(True, description="leave out pulses 5 and 6, then one every 30 s, so that gaps number them")


class RigSettings(BaseModel):
    """The rig of a data root: addresses, ports, waveform, default length of a session."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["simulated", "hardware"] = "simulated"
    waveform: str = Field("light", description="a waveform preset, or a .cfg file (relative to the data root)")
    seconds: float = Field(10.0, gt=0, le=86_400, description="length of a session when none is asked for")
    room: str | None = None
    card_ip: str = "192.168.33.180"
    host_ip: str = Field("192.168.33.30", description="this machine's address on the card's network")
    config_port: int = Field(4096, ge=0, le=65535)
    data_port: int = Field(4098, ge=0, le=65535)
    packet_delay_us: int = Field(25, ge=5, le=500)
    radar_port: str = Field("auto", description="serial device of the radar's command line, or auto")
    radar_baud: int | None = Field(None, description="None: 115200, then 921600")
    first_packet_timeout_s: float = Field(10.0, gt=0)
    silence_timeout_s: float = Field(5.0, gt=0, description="a stream silent for so long has ended")
    reserve_bytes: int = Field(2_000_000_000, ge=0, description="disk space a recording never touches")
    camera: CameraSettings = Field(default_factory=CameraSettings)
    trigger: TriggerSettings = Field(default_factory=TriggerSettings)
    simulator: SimulatorSettings = Field(default_factory=SimulatorSettings)

    @property
    def simulated(self) -> bool:
        return self.kind == "simulated"


DerivedKind = Literal["cubes", "runs", "pictures", "predictions"]


class RetentionSettings(BaseModel):
    """Which derived data may be removed, and when. With neither `keep_days` nor `free_gb` nothing is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    keep_days: float | None = Field(
        None, ge=0, le=36_500, description="days; what was made or read within them stays. None: only `free_gb` decides"
    )
    free_gb: float | None = Field(
        None,
        gt=0,
        description="10^9 bytes; nothing more goes once so much is free. None: all that `keep_days` lets go goes",
    )
    kinds: tuple[DerivedKind, ...] = Field(
        ("cubes", "runs"), description="cubes, runs (of studies), pictures, predictions"
    )

    @property
    def active(self) -> bool:
        return self.keep_days is not None or self.free_gb is not None


class StoreSettings(BaseModel):
    """The object store of a data root: an S3-compatible bucket, or a folder that other machines see. It holds no secret.

    Keys come from the usual AWS variables, at the command line and in a worker's environment, or for flows from `keys_block`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    address: str = Field(
        pattern=r"^(s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/\w[\w .=+-]*)*/?|file:///[^?#]+)$",
        description="s3://BUCKET or s3://BUCKET/PREFIX, or file:///FOLDER",
    )
    endpoint: str | None = Field(
        None, pattern=r"^https?://[^/@\s]+/?$", description="None: AWS_ENDPOINT_URL, or else Amazon's own"
    )
    region: str | None = Field(None, pattern=r"^[a-z0-9-]+$", description="None: AWS_REGION, or else us-east-1")
    checksums: bool = Field(
        True, description="have the store check and keep a SHA-256 of what it is sent; false: it cannot"
    )
    keys_block: str | None = Field(None, description="the Prefect Secret block with the keys, for flows")


def data_root(explicit: Path | None = None) -> Path:
    """The data root: `explicit`, else `MAEPOSE_ROOT`, else `./data`; made absolute, not created."""
    return (explicit or Path(os.environ.get("MAEPOSE_ROOT") or DEFAULT_ROOT)).expanduser().absolute()


def read_rig(root: Path) -> RigSettings:
    """`<root>/rig.toml`, or the simulated rig where there is none; PipelineError names the file and the bad value."""
    return _read(root / "rig.toml", RigSettings) or RigSettings()


def read_retention(root: Path) -> RetentionSettings:
    """`<root>/retention.toml`, or the policy that removes nothing; PipelineError names the file and the bad value."""
    return _read(root / "retention.toml", RetentionSettings) or RetentionSettings()


def read_store(root: Path) -> StoreSettings | None:
    """`<root>/store.toml`, or None where there is none; PipelineError names the file and the bad value."""
    return _read(root / "store.toml", StoreSettings)


def _read(path: Path, kind: type[Settings]) -> Settings | None:
    if not path.exists():
        return None
    try:
        return kind.model_validate(tomllib.loads(path.read_text()))
    except tomllib.TOMLDecodeError as error:
        raise PipelineError(f"{path} is not TOML: {error}.") from None
    except ValidationError as error:
        first = error.errors()[0]
        raise PipelineError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise PipelineError(f"{path} cannot be read: {error}.") from error


def waveform_config(root: Path, name: str) -> RadarConfig:
    """The radar configuration a rig or a request names: a preset, or a `.cfg` file inside the data root.

    Raises PipelineError for a name that is neither, and for a path that leaves the data root.
    """
    if name in PRESETS:
        return parse_cfg(write_cfg(PRESETS[name]), name)
    path = root / name
    # as it is written: a link that somebody laid there is followed
    as_written = ".." not in Path(name).parts and path.is_relative_to(root)
    if not as_written and not path.resolve().is_relative_to(root.resolve()):
        raise PipelineError(
            f"Waveform {name!r} lies outside the data root {root}; copy the .cfg into it, or link it there."
        )
    if not path.is_file():
        presets = ", ".join(sorted(PRESETS))
        raise PipelineError(f"There is no waveform {name!r}: name a preset ({presets}) or a .cfg file in {root}.")
    return read_cfg(path)
