"""What a cube is made with: one typed configuration, stored in every store it makes, and its presets."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from pipeline.errors import PipelineError

Window = Literal["none", "hann", "hamming", "blackman"]
Product = Literal["rad", "rd", "ra"]
SampleOrder = Literal["i-first", "q-first", "interleaved"]


class CubeConfig(BaseModel):
    """How raw samples become range-azimuth-Doppler cubes and maps.

    Axis order everywhere is (range, azimuth, Doppler); velocity and azimuth ascend, zero in bin n // 2.
    Power is in dB relative to a full-scale int16 tone that fills one bin (dBFS).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    products: tuple[Product, ...] = ("rad", "rd", "ra")
    range_bins: int | None = Field(None, ge=2, description="range FFT length; None = samples per chirp")
    doppler_bins: int | Literal["loops", "power-of-two"] = Field(
        "power-of-two", description="Doppler FFT length, or how it follows from the number of loops"
    )
    azimuth_bins: int = Field(64, ge=2, description="azimuth FFT length, zero-padded from the antenna row")
    range_window: Window = "hann"
    doppler_window: Window = "hann"
    azimuth_window: Window = "none"
    clutter_removal: bool = Field(True, description="subtract each range bin's mean over the loops (static echoes)")
    tdm_compensation: bool = Field(True, description="undo the phase a mover gains between transmitters' slots")
    range_crop: tuple[int, int] | None = Field(None, description="keep range bins [start, stop)")
    doppler_crop: tuple[int, int] | None = Field(None, description="keep Doppler bins [start, stop) after fftshift")
    dtype: Literal["uint8", "float16", "float32", "complex64"] = Field("uint8", description="stored type of rad")
    db_floor: float = Field(-140.0, description="lowest dBFS that uint8 (as 0) and float16 store")
    db_step: float = Field(0.5, gt=0, description="dB a step when dtype is uint8")
    flip_range: bool = Field(False, description="store far range first, as the authors' published code does")
    frame_minmax: bool = Field(False, description="scale every map to [0, 1] by its own minimum and maximum")


PRESETS: dict[str, CubeConfig] = {
    "default": CubeConfig(),
    # paper.md, "Spectrogram video": the authors' published recipe, a parity target, not our advice.
    "paper": CubeConfig(
        products=("rd", "ra"),
        doppler_bins="loops",
        azimuth_bins=256,
        range_window="none",
        doppler_window="none",
        clutter_removal=False,
        tdm_compensation=False,
        dtype="float32",
        flip_range=True,
        frame_minmax=True,
    ),
}


def preset(name: str) -> CubeConfig:
    """The preset called `name`; raises PipelineError naming the ones there are."""
    if name not in PRESETS:
        raise PipelineError(f"There is no cube preset {name!r}; the presets are {', '.join(sorted(PRESETS))}.")
    return PRESETS[name]
