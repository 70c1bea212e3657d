"""When each radar frame began, from all of its packets: one that is late or lost does not move the frame.

The packet that holds byte b of a frame cannot arrive before that byte was sampled, so `arrival - sampled` is the frame's
start plus a delay that is never negative, and the smallest over the frame's packets is the best that is known of it.
`hardware.md` section 1: a packet leaves when it is full, so it is timed by its *last* byte, and belongs to that byte's frame.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Shaped

_ENOUGH = 200  # packets of a frame; more only cost time
_EARLY_SHARE = 0.5  # of a frame: packets up to here and all of them are compared
_STEADY_SHARE = 0.35  # of the chirps' time that the two starts may differ: a half, where all packets came at once


@dataclass(frozen=True)
class FrameStarts:
    """`start_s`: CLOCK_MONOTONIC seconds at which each frame began, transport's shortest delay included; NaN where no packet.

    `steady` is False where the packets came in one burst, so that the frame began at `start_s` *or earlier*.
    """

    start_s: Float64[np.ndarray, " frame"]
    steady: Bool[np.ndarray, " frame"]


def frame_starts(
    packets: Shaped[np.ndarray, " packet"] | None, frames: int, frame_bytes: int, active_s: float
) -> FrameStarts:
    """Starts of frames 0..`frames`-1 from `PACKET_RECORD`s; `active_s` is how long the chirps of a frame take."""
    count = 0 if packets is None else len(packets)
    every = max(count // max(frames * _ENOUGH, 1), 1)
    whole, early = _earliest(packets[::every] if packets is not None else None, frames, frame_bytes, active_s)
    if every > 1 and not np.isfinite(whole).all():  # frames of which little arrived: look at all there is
        whole, early = _earliest(packets, frames, frame_bytes, active_s)
    known = np.isfinite(whole)
    steady = known & np.isfinite(early)
    steady[steady] = early[steady] - whole[steady] <= max(_STEADY_SHARE * active_s, 1e-3)
    return FrameStarts(np.where(known, whole, np.nan), steady)


def _earliest(
    packets: Shaped[np.ndarray, " packet"] | None, frames: int, frame_bytes: int, active_s: float
) -> tuple[Float64[np.ndarray, " frame"], Float64[np.ndarray, " frame"]]:
    """The earliest start that any packet of each frame vouches for, and any of its first part; infinite where there is none."""
    whole, early = np.full(frames, np.inf), np.full(frames, np.inf)
    if packets is not None and len(packets):
        last_byte = packets["byte_offset"].astype(np.int64) + packets["length"] - 1
        frame, within = np.divmod(last_byte, frame_bytes)
        share = (within + 1) / frame_bytes
        estimate_s = packets["monotonic_ns"] * 1e-9 - share * active_s
        inside = (frame >= 0) & (frame < frames) & (packets["monotonic_ns"] > 0)
        np.minimum.at(whole, frame[inside], estimate_s[inside])
        first = inside & (share <= _EARLY_SHARE)
        np.minimum.at(early, frame[first], estimate_s[first])
    return whole, early
