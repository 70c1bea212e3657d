"""The one figure of a study that needs cubes and weights: what an autoencoder of it makes of hidden patches."""

from pathlib import Path

from models.study_figures import RECONSTRUCTION
from models.study_opening import Study
from models.study_store import read_making
from pipeline.made_from import is_made_from, note_made_from
from pipeline.provenance import sha256_file


def draw_study_reconstruction(study: Study) -> Path | None:
    """PNG in the study's `figures/`: the liveliest clip of the first recording that the first fold's autoencoder never saw.

    None where no row is pre-trained. Raises PipelineError where a cube or the autoencoder is gone.
    """
    for unit in study.units:
        making = read_making(study.folder, unit)
        if making is None or making.pretraining_run is None or unit.held_out is None:
            continue
        recording = study.data.split(unit).test[0]
        model = study.folder / "runs" / making.pretraining_run / "model.safetensors"
        path = study.folder / "figures" / RECONSTRUCTION
        if path.exists() and not model.exists():
            return path  # its run was removed (docs/retention.md); what it drew still holds
        digest = sha256_file(model) if model.exists() else ""
        if is_made_from(path, digest):
            return path
        from models.figures import draw_reconstruction
        from models.shown import masked_clips  # torch takes seconds to import, and mostly the figure is there

        path.parent.mkdir(parents=True, exist_ok=True)
        steps = making.pretraining_history[-1].step if making.pretraining_history else 0
        quiet = f"{steps} steps without {unit.held_out} · power scaled to 0..1 · visible patches as they were"
        title = f"{recording}: what an autoencoder makes of hidden patches"
        clips = masked_clips(study.data.root, recording, model)
        draw_reconstruction(path, clips, title, quiet, simulated=making.simulated)
        note_made_from(path, digest)
        return path
    return None
