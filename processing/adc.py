"""The radar's int16 words and the complex samples they mean."""

import numpy as np
from jaxtyping import Complex64, Int16

from pipeline.cube_config import SampleOrder
from pipeline.errors import PipelineError
from pipeline.waveform import Waveform


def decode(
    words: Int16[np.ndarray, " word"], waveform: Waveform, sample_order: SampleOrder | None = None
) -> Complex64[np.ndarray, "loop tx rx sample"]:
    """Complex samples I + jQ of one frame in wire order; `sample_order` None takes the waveform's.

    Two LVDS lanes send a chirp's samples in pairs: `i-first` words are [I0 I1 Q0 Q1], `q-first` [Q0 Q1 I0 I1]; `interleaved`
    [I0 Q0 I1 Q1] is what a recorder leaves that has sorted them (hardware.md, section 1). Raises PipelineError when the
    words are no whole frame, or when pairs meet an odd number of samples.
    """
    order = sample_order or waveform.sample_order
    check_sample_count(waveform, order)
    if len(words) * 2 != waveform.frame_bytes:
        raise PipelineError(
            f"{waveform.name}: a frame has {waveform.frame_bytes // 2} words of 16 bits, but {len(words)} were given; "
            "cut the stream at whole frames, or check that this waveform recorded it."
        )
    samples = np.empty(waveform.frame_shape, np.complex64)
    if order == "interleaved":
        pairs = words.reshape(*waveform.frame_shape, 2)
        samples.real, samples.imag = pairs[..., 0], pairs[..., 1]
    else:
        groups = words.reshape(*waveform.frame_shape[:3], -1, 2, 2)
        i, q = (0, 1) if order == "i-first" else (1, 0)
        samples.real = groups[..., i, :].reshape(waveform.frame_shape)
        samples.imag = groups[..., q, :].reshape(waveform.frame_shape)
    return samples


def check_sample_count(waveform: Waveform, order: SampleOrder) -> None:
    """Raise PipelineError when `order` sends samples in pairs and a chirp has an odd number of them."""
    if order != "interleaved" and waveform.samples % 2:
        raise PipelineError(
            f"{waveform.name}: {waveform.samples} samples a chirp is odd, but {order} words come in groups of two samples; "
            "use an even number of samples, or the interleaved order if a recorder has sorted the words."
        )
