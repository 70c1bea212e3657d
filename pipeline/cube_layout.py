"""What a cube store holds: its arrays, their axes, units and directions, and how they are cut into chunks and shards.

    rad (frame, range, azimuth, doppler)   rd (frame, range, doppler)   ra (frame, range, azimuth)
    valid, missing_bytes, time, monotonic_ns (frame)   loop_valid (frame, loop)
    frame, range [m], azimuth [degrees], doppler [Hz], velocity (doppler) [m/s]

Attributes follow the CF conventions, so that xarray names the axes and decodes uint8 `rad` to dB.
Maps are linear power, so that they may be summed; `pipeline.cube.Cube.decibels` gives either as dB.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float64, Int64, Shaped

from pipeline.antennas import azimuth_row
from pipeline.cube_config import CubeConfig
from pipeline.cube_shards import ChunkCodec
from pipeline.provenance import versions
from pipeline.recording import Recording
from pipeline.waveform import Waveform

SCHEMA_VERSION = 1
SHARD_FRAMES = 64
SHARD_BYTES = 256 * 2**20  # before compression: 64 frames of the default uint8 cube
CHUNK_BYTES = 2**20  # maps share a chunk up to here; a cube frame is a chunk of its own

Product = Literal["rad", "rd", "ra"]
DIMENSIONS: dict[Product, tuple[str, ...]] = {
    "rad": ("frame", "range", "azimuth", "doppler"),
    "rd": ("frame", "range", "doppler"),
    "ra": ("frame", "range", "azimuth"),
}
DIRECTIONS = {
    "range": "distance from the radar",
    "azimuth": "right of boresight is positive, seen from behind the radar looking out",
    "doppler": "receding is positive, approaching negative",
}


@dataclass(frozen=True)
class CubeAxes:
    """Bin centres of a cube as stored: range in metres, azimuth in degrees right of boresight, velocity in m/s receding."""

    range_m: Float64[np.ndarray, " range"]
    azimuth_deg: Float64[np.ndarray, " azimuth"]
    velocity_mps: Float64[np.ndarray, " doppler"]

    def sizes(self) -> dict[str, int]:
        """Bins of each axis by name."""
        return {"range": len(self.range_m), "azimuth": len(self.azimuth_deg), "doppler": len(self.velocity_mps)}


@dataclass(frozen=True)
class FrameTable:
    """What is known of every frame besides its samples.

    `time_s` counts from the first frame; `monotonic_ns` is the capturing host's CLOCK_MONOTONIC at the frame's first byte
    (0 where unknown); `loss_known` is False where the origin had no packets, and then nothing counts as missing.
    """

    time_s: Float64[np.ndarray, " frame"]
    monotonic_ns: Int64[np.ndarray, " frame"]
    missing_bytes: Int64[np.ndarray, " frame"]
    loop_valid: Bool[np.ndarray, "frame loop"]
    loss_known: bool
    time_source: str

    @property
    def valid(self) -> Bool[np.ndarray, " frame"]:
        """True for each frame of which no byte is known to be missing."""
        return self.missing_bytes == 0


@dataclass(frozen=True)
class FrameArray:
    """One sharded array: `chunk_frames` frames an inner chunk, `shard_frames` a file, the other axes whole."""

    name: Product
    frame_shape: tuple[int, ...]
    dtype: np.dtype
    chunk_frames: int
    shard_frames: int
    attributes: dict[str, Any]

    @property
    def dimensions(self) -> tuple[str, ...]:
        """Names of the axes, `frame` first."""
        return DIMENSIONS[self.name]

    @property
    def codec(self) -> ChunkCodec:
        """How an inner chunk becomes bytes."""
        return ChunkCodec(self.dtype)

    def shard_file(self, shard: int) -> str:
        """Path of shard `shard` inside the store (default chunk key encoding, separator '/')."""
        return "/".join([self.name, "c", str(shard), *("0" * len(self.frame_shape))])


def frame_arrays(config: CubeConfig, sizes: dict[str, int]) -> tuple[FrameArray, ...]:
    """The arrays that `config` asks for, over axes of `sizes` bins. All share one shard length, a power of two."""
    shapes = {name: tuple(sizes[axis] for axis in DIMENSIONS[name][1:]) for name in config.products}
    dtypes = {name: np.dtype(config.dtype if name == "rad" else "float32") for name in config.products}
    bytes_a_frame = {name: int(np.prod(shapes[name])) * dtypes[name].itemsize for name in config.products}
    shard_frames = _power_of_two(SHARD_BYTES // max(bytes_a_frame.values()), SHARD_FRAMES)
    return tuple(
        FrameArray(
            name=name,
            frame_shape=shapes[name],
            dtype=dtypes[name],
            chunk_frames=1 if name == "rad" else _power_of_two(CHUNK_BYTES // bytes_a_frame[name], shard_frames),
            shard_frames=shard_frames,
            attributes={**_values(name, config), "coordinates": "time velocity" if name != "ra" else "time"},
        )
        for name in config.products
    )


@dataclass(frozen=True)
class SmallArray:
    """An array stored whole: a coordinate or a per-frame flag."""

    name: str
    dimensions: tuple[str, ...]
    values: Shaped[np.ndarray, "..."]
    attributes: dict[str, Any]


def small_arrays(axes: CubeAxes, table: FrameTable, waveform: Waveform) -> tuple[SmallArray, ...]:
    """Coordinates and per-frame flags of a store."""
    outward = "ascending away from the radar" if _ascends(axes.range_m) else "descending: far range first"
    unknown = "" if table.loss_known else "; unknown here, the origin kept no packets"
    doppler_hz = axes.velocity_mps * 2 / waveform.wavelength_m
    rows: list[tuple[str, tuple[str, ...], np.ndarray, dict[str, Any]]] = [
        (
            "frame",
            ("frame",),
            np.arange(len(table.time_s), dtype=np.int64),
            {"long_name": "radar frame since the start"},
        ),
        (
            "time",
            ("frame",),
            table.time_s,
            {"long_name": "time since the first frame", "units": "s", "source": table.time_source},
        ),
        (
            "monotonic_ns",
            ("frame",),
            table.monotonic_ns,
            {"long_name": "capturing host's CLOCK_MONOTONIC at the frame's first byte, 0 where unknown", "units": "ns"},
        ),
        (
            "range",
            ("range",),
            axes.range_m,
            {"long_name": "range", "units": "m", "axis_direction": f"{DIRECTIONS['range']}, {outward}"},
        ),
        (
            "azimuth",
            ("azimuth",),
            axes.azimuth_deg,
            {"long_name": "azimuth", "units": "degrees", "axis_direction": DIRECTIONS["azimuth"]},
        ),
        (
            "doppler",
            ("doppler",),
            doppler_hz,
            {"long_name": "Doppler frequency", "units": "Hz", "axis_direction": DIRECTIONS["doppler"]},
        ),
        (
            "velocity",
            ("doppler",),
            axes.velocity_mps,
            {"long_name": "radial velocity", "units": "m/s", "axis_direction": DIRECTIONS["doppler"]},
        ),
        (
            "valid",
            ("frame",),
            table.valid,
            {"long_name": f"no byte of the frame was lost{unknown}", "coordinates": "time"},
        ),
        (
            "missing_bytes",
            ("frame",),
            table.missing_bytes,
            {"long_name": f"bytes of the frame that never arrived{unknown}", "units": "byte", "coordinates": "time"},
        ),
        (
            "loop_valid",
            ("frame", "loop"),
            table.loop_valid,
            {"long_name": f"every byte of the loop arrived{unknown}", "coordinates": "time"},
        ),
    ]
    return tuple(SmallArray(*row) for row in rows)


def frame_table(recording: Recording) -> FrameTable:
    """Times and losses of a recording's whole frames. Where packets carry no time, frames are a nominal period apart."""
    frames, waveform = recording.frame_count, recording.waveform
    missing_bytes, monotonic_ns = recording.frame_missing_bytes(), recording.frame_time_ns()
    loop_valid = np.ones((frames, waveform.loops), bool)
    for frame in np.flatnonzero(missing_bytes):
        loop_valid[frame] = recording.loop_valid(int(frame))
    timed = bool(frames) and bool((monotonic_ns > 0).all())
    return FrameTable(
        time_s=(monotonic_ns - monotonic_ns[0]) / 1e9 if timed else np.arange(frames) * waveform.frame_period_s,
        monotonic_ns=monotonic_ns,
        missing_bytes=missing_bytes,
        loop_valid=loop_valid,
        loss_known=recording.packets is not None,
        time_source="arrival of each frame's first byte" if timed else "frame number times the configured period",
    )


def store_attributes(recording: Recording, config: CubeConfig, key: str, algorithm_version: str) -> dict[str, Any]:
    """Group attributes: everything needed to know what the numbers are without the recording at hand."""
    waveform, manifest = recording.waveform, recording.manifest
    row = azimuth_row(waveform)
    cfg = recording.folder / "radar.cfg"
    simulated = "SIMULATED " if manifest.simulated else ""
    return {
        "Conventions": "CF-1.11",
        "title": f"{simulated}FMCW radar cube of recording {recording.id}",
        "source": "simulated radar" if manifest.simulated else f"radar recording ({manifest.origin})",
        "simulated": manifest.simulated,
        "recording": recording.id,
        "axis_directions": DIRECTIONS,
        "waveform": waveform.model_dump(mode="json"),
        "radar_cfg": cfg.read_text(errors="replace") if cfg.is_file() else None,
        "antenna_layout": {
            "tx_order": waveform.tx_order,
            "rx_channels": waveform.rx_channels,
            "azimuth_row_elements": row.elements,
            "azimuth_row_tx_slots": row.slots,
            "azimuth_row_columns_half_wavelengths": row.columns,
            "element_index": "tx_slot * receivers + receiver, both in the order above",
        },
        "calibration": None,
        "loss_known": recording.packets is not None,
        "provenance": {
            "key": key,
            "raw_digest": recording.raw_digest,
            "config": config.model_dump(mode="json"),
            "algorithm_version": algorithm_version,
            "schema_version": SCHEMA_VERSION,
            "versions": versions(),
            "created_utc": datetime.now(UTC).isoformat(timespec="seconds"),
        },
    }


def _values(name: Product, config: CubeConfig) -> dict[str, Any]:
    """What a stored number means. A stored uint8 0 is the floor, not a missing value: there is no `_FillValue`."""
    titles = {
        "rad": "power per range, azimuth and Doppler bin",
        "rd": "power summed over azimuth",
        "ra": "power summed over Doppler",
    }
    if name != "rad" and config.frame_minmax:
        return {"long_name": f"log {titles[name]}, each frame scaled to [0, 1] by its own extremes", "units": "1"}
    meaning: dict[str, Any] = {
        "long_name": titles[name],
        "units": "1",
        "reference": "full-scale int16 tone in one bin = 1",
    }
    if name != "rad" or config.dtype == "float32":
        return meaning
    if config.dtype == "complex64":
        return meaning | {"long_name": "complex amplitude per range, azimuth and Doppler bin"}
    meaning |= {"units": "dB", "reference": "full-scale int16 tone in one bin = 0 dB"}
    if config.dtype == "float16":
        return meaning | {"comment": f"{config.db_floor:g} dB means that or less"}
    top_db = config.db_floor + 255 * config.db_step
    return meaning | {
        "scale_factor": config.db_step,
        "add_offset": config.db_floor,
        "comment": f"stored 0 means {config.db_floor:g} dB or less, 255 means {top_db:g} dB or more",
    }


def _ascends(values: Float64[np.ndarray, " bin"]) -> bool:
    return len(values) < 2 or bool(values[1] > values[0])


def _power_of_two(value: int, limit: int) -> int:
    """The largest power of two that is at most `value` and `limit`, at least 1."""
    return 1 << max(min(value, limit), 1).bit_length() - 1
