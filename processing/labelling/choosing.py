"""Which labeller a recording gets: the one asked for, or the one that suits it."""

from pathlib import Path
from typing import Literal

from processing.labelling.people import Labeller
from processing.labelling.simulated import simulated_labeller
from processing.labelling.vitpose import VITPOSE, vitpose_labeller
from processing.labelling.yolo import yolo_labeller

LabellerName = Literal["auto", "vitpose", "yolo", "simulated"]

YOLO = "yolo11n-pose"


def labeller_for(
    name: LabellerName,
    root: Path,
    *,
    simulated: bool,
    weights: str | None = None,
    device: str = "cpu",
    download: bool = False,
) -> Labeller:
    """The labeller called `name`; `auto` is `simulated` for a simulated recording and `vitpose` for a real one.

    `weights` is a name or a path in place of the labeller's usual ones. The network is asked for weights only with `download`.
    Raises PipelineError, saying what to install or which file to put where, when it cannot be had.
    """
    if name == "auto":
        name = "simulated" if simulated else "vitpose"
    if name == "vitpose":
        return vitpose_labeller(weights or VITPOSE, root, device=device, download=download)
    if name == "yolo":
        return yolo_labeller(weights or YOLO, root, device=device)
    return simulated_labeller(Path(weights) if weights else None, root=root, device=device)
