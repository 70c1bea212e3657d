"""What a person may set about labels. Everything here goes into the labels' metadata and their key."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class OneEuro(BaseModel):
    """A One-Euro filter (Casiez, Roussel and Vogel, CHI 2012) on places in shares of the picture."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    min_cutoff_hz: float = Field(1.5, gt=0, description="cutoff at rest: lower takes out more jitter")
    beta: float = Field(8.0, ge=0, description="Hz the cutoff rises for each picture a second that a joint moves")
    speed_cutoff_hz: float = Field(1.0, gt=0, description="cutoff of the speed the above goes by")


class LabelConfig(BaseModel):
    """How a recording's pictures become labels."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    min_score: float = Field(0.3, ge=0, le=1, description="people found with less are left out")
    min_confidence: float = Field(0.3, ge=0, le=1, description="joints found with less are masked")
    spot: tuple[float, float] = Field(
        (0.5, 0.5), description="where the person is asked to stand, as shares of the picture: the middle of the body"
    )
    ambiguous: Literal["leave-out", "include"] = Field(
        "leave-out", description="moments whose radar and colour frame may not belong together"
    )
    scale_window_frames: int = Field(
        20, ge=1, description="radar frames around each whose depths give its plane: a clip"
    )
    depth_patch_px: int = Field(7, ge=1, le=51, description="side of the square at a joint whose median depth is taken")
    body_height_m: float | None = Field(
        None, gt=0.5, lt=2.6, description="gives a scale where there is no depth; None: no metres without depth"
    )
    smoothing: OneEuro | None = Field(None, description="None: the joints as they were labelled")
