"""No parameter of any deployed flow leads out of the data root: asked as Prefect asks it, with something there to be found."""

import importlib
import shutil
from pathlib import Path
from types import UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints
from uuid import uuid4

import numpy as np
import pytest
import yaml
from prefect import Flow
from prefect.exceptions import ParameterTypeError
from prefect.logging import disable_run_logger
from prefect.settings import PREFECT_API_URL, PREFECT_SERVER_ALLOW_EPHEMERAL_MODE, temporary_settings

from flows.asked_paths import name_or_path_inside, path_inside
from flows.local_server import PROJECT
from flows.studies import asked_study
from pipeline.cfg_text import write_cfg
from pipeline.errors import PipelineError
from pipeline.manifest import RecordingManifest
from pipeline.recording import create_recording, open_recording
from pipeline.sealing import seal
from pipeline.waveform import PRESETS

SMALL = PRESETS["light"].model_copy(update={"samples": 32, "loops": 8})
SECRET = "weights of another lab"

PATHS = {
    ("import-recording", "source"): {},
    ("import-recording", "configs"): {"source": "there.bin"},
    ("label-recording", "weights"): {"recording_id": "a"},
    ("finetune", "encoder"): {},
    ("study", "study"): {},
    ("evaluate-fold", "study"): {"unit": "mean.rd.walk.p01"},
    ("evaluate", "study"): {},
    ("capture-session", "profile"): {},
}
"""Parameters that name a file, with the others such a run needs."""
NAMES = {
    ("process-recording", "recording_id"): {},
    ("label-recording", "recording_id"): {},
    ("import-recording", "recording_id"): {"source": "there.bin"},
    ("upload-recording", "recording_id"): {},
    ("pretrain", "name"): {},
    ("finetune", "name"): {},
    ("capture-session", "participant"): {},
    ("capture-session", "action"): {},
    ("import-recording", "participant"): {"source": "there.bin"},
    ("import-recording", "action"): {"source": "there.bin"},
}
"""Parameters that become part of a path, or are sealed into manifests, and have a pattern."""
HARMLESS = {
    # looked up among those there are
    ("evaluate-fold", "unit"),
    ("pretrain", "people"),
    ("finetune", "people"),
    ("pretrain", "hold_out"),
    ("finetune", "hold_out"),
    # text of actions and seconds, each action with a pattern
    ("capture-session", "script"),
}
"""Other parameters that are text."""


def deployed_flows() -> dict[str, Flow[..., Any]]:
    """Every flow of prefect.yaml by its name."""
    found = {}
    for deployment in yaml.safe_load((PROJECT / "prefect.yaml").read_text())["deployments"]:
        module, name = deployment["entrypoint"].rsplit(".", 1)
        flow = getattr(importlib.import_module(module), name)
        found[flow.name] = flow
    return found


def takes_text(kind: Any) -> bool:
    """Whether a parameter of this type can hold text of a person's choosing."""
    if get_origin(kind) is Literal:
        return False
    parts = get_args(kind) if get_origin(kind) or isinstance(kind, UnionType) else ()
    return kind is str or any(takes_text(part) for part in parts)


def asked(flow: Flow[..., Any], parameters: dict[str, Any]) -> Any:
    """What a run with these parameters does, once Prefect has validated them as it does before every run."""
    with disable_run_logger():
        return flow.fn(**flow.validate_parameters(parameters))


@pytest.fixture(autouse=True)
def no_server(monkeypatch) -> Any:
    """Nothing listens where artifacts would go: a run that comes so far as to show something fails."""
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api", PREFECT_SERVER_ALLOW_EPHEMERAL_MODE: False}):
        yield


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data root with one recording, beside a folder that holds everything the parameters could wish for."""
    root, outside = tmp_path / "data", tmp_path / "outside"
    outside.mkdir()
    folder = create_recording(root, RecordingManifest(id="a", simulated=True, waveform=SMALL))
    (folder / "adc.bin").write_bytes(np.zeros(2 * SMALL.frame_bytes // 2, np.int16).tobytes())
    shutil.copytree(folder, outside / "a")
    seal(folder)
    (root / "there.bin").write_bytes(b"\0" * 2 * SMALL.frame_bytes)
    (outside / "there.bin").write_bytes(b"\0" * 2 * SMALL.frame_bytes)
    (outside / "radar.cfg").write_text(write_cfg(SMALL))
    (outside / "model.safetensors").write_text(SECRET)
    (outside / "study.yaml").write_text("name: theirs")
    monkeypatch.setenv("MAEPOSE_ROOT", str(root))
    return root


def test_every_text_a_run_can_be_asked_for_is_judged_here():
    texts = {
        (name, parameter)
        for name, flow in deployed_flows().items()
        for parameter, kind in get_type_hints(flow.fn, include_extras=True).items()
        if parameter != "return" and takes_text(kind)
    }
    assert texts == {*PATHS, *NAMES, *HARMLESS}


@pytest.mark.parametrize(
    "way", ["../outside/{}", "{outside}/{}", "a/../../outside/{}", "~/../{outside}/{}", "~root/{}"]
)
@pytest.mark.parametrize(("name", "parameter"), PATHS)
def test_a_path_out_of_the_data_root_is_refused(root, name, parameter, way):
    file = {"source": "there.bin", "configs": "radar.cfg", "profile": "radar.cfg", "study": "study.yaml"}.get(
        parameter, "model.safetensors"
    )
    path = way.format(file, outside=root.parent / "outside")
    before = sorted(root.rglob("*"))
    value = [path] if parameter == "configs" else path
    with pytest.raises(PipelineError, match="outside the data root") as refused:
        asked(deployed_flows()[name], {**PATHS[name, parameter], parameter: value})
    assert SECRET not in str(refused.value)
    assert sorted(root.rglob("*")) == before


def test_a_study_is_looked_for_in_the_data_root_and_among_those_that_are_kept(root, tmp_path, monkeypatch):
    """A relative path lies in the data root as it is written, wherever else there is a file of that name."""
    project, here = tmp_path / "project", tmp_path / "here"
    for folder in (project / "docs" / "studies" / "kept", here):
        folder.mkdir(parents=True)
    for place in (project / ".env", here / ".env", project / "docs" / "studies" / "kept" / "study.yaml"):
        place.write_text(f"PASSWORD: {SECRET}: x")
    monkeypatch.setattr("flows.studies.PROJECT", project)
    monkeypatch.setattr("flows.studies.KEPT", project / "docs" / "studies")
    monkeypatch.chdir(here)
    for name, parameter in PATHS:
        if parameter == "study":
            with pytest.raises(PipelineError, match=r"There is no study '\.env'"):
                asked(deployed_flows()[name], {**PATHS[name, parameter], parameter: ".env"})
    with pytest.raises(PipelineError, match="outside the data root"):
        asked_study(root, str(project / ".env"))
    kept = project / "docs" / "studies" / "kept" / "study.yaml"
    assert asked_study(root, "docs/studies/kept") == asked_study(root, str(kept)) == kept
    # a fold is asked for by a path from the data root, which another worker sees elsewhere
    (tmp_path / "mounted").symlink_to(root)
    shutil.copytree(kept.parent, root / "experiments" / "small")
    for there in (root, tmp_path / "mounted"):
        assert asked_study(there, "experiments/small/study.yaml").is_relative_to(there)
    (root / ".env").write_text(f"PASSWORD: {SECRET}: x")
    with pytest.raises(PipelineError, match="line 1") as refused:
        asked(deployed_flows()["study"], {"study": ".env"})
    assert SECRET not in str(refused.value)


PATH_LIKE = ("../outside/a", "a/b", "/etc", "a\n", "a\0b", "~", "\\..\\x")
NO_NAMES = ("..", ".", "")  # a person may be called so: a recording's name has letters and digits only


@pytest.mark.parametrize(("name", "parameter"), NAMES)
def test_a_name_that_is_a_path_is_refused_before_a_run_begins(name, parameter):
    flow, others = deployed_flows()[name], NAMES[name, parameter]
    for text in PATH_LIKE if parameter in ("participant", "action") else PATH_LIKE + NO_NAMES:
        with pytest.raises(ParameterTypeError):
            flow.validate_parameters({**others, parameter: text})


@pytest.mark.parametrize("text", PATH_LIKE + NO_NAMES, ids=repr)
def test_the_layers_below_refuse_such_an_id_too(root, text):
    with pytest.raises(PipelineError, match="is not a recording id"):
        open_recording(root, text)


def test_people_named_like_paths_make_recordings_inside(root):
    from pipeline.recording import new_recording_id

    for name in ("..", ".", "a.. .", "(..)"):
        assert "." not in new_recording_id(name)


def test_an_experiment_of_a_held_out_path_stays_in_its_folder():
    from flows.experiments import ExperimentRequest

    request = ExperimentRequest(hold_out="../../x", encoder="/etc/passwd")
    assert {"/", "."}.isdisjoint(request.named("finetune"))


def test_what_lies_in_the_data_root_is_found_as_it_is_written(root):
    assert path_inside("there.bin", root) == root / "there.bin"
    assert path_inside(str(root / "there.bin"), root) == root / "there.bin"
    (root / "incoming").symlink_to(root.parent / "outside")
    assert path_inside("incoming/there.bin", root).read_bytes()
    with pytest.raises(PipelineError, match="link it there"):
        path_inside("incoming/../outside/there.bin", root)
    assert path_inside("/app/studies/x.yaml", root, Path("/app")) == Path("/app/studies/x.yaml")
    with pytest.raises(PipelineError):
        path_inside(f"{root}-of-another/there.bin", root)


def test_names_stay_names(root):
    name = f"owner/model-{uuid4()}"
    assert name_or_path_inside(name, root) == name
    assert name_or_path_inside("there.bin", root) == str(root / "there.bin")
