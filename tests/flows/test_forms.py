"""The forms of every deployment, as Prefect makes them of the flows: each parameter typed, bounded and described."""

import importlib
from typing import Any, get_args

import pytest
import yaml
from prefect import Flow
from prefect.exceptions import ParameterTypeError

from flows.experiments import PresetChoice
from flows.local_server import PROJECT
from models.presets import PRESETS
from pipeline.cube_config import PRESETS as CUBE_PRESETS

DEPLOYMENTS = yaml.safe_load((PROJECT / "prefect.yaml").read_text())["deployments"]
WRONG = [
    ("capture-session", {"seconds": 0}),
    ("capture-session", {"participant": "a/b"}),
    ("process-recording", {"recording_id": "a", "preset": "other"}),
    ("process-recording", {}),
    ("label-recording", {"recording_id": "a", "labeller": "somebody"}),
    ("import-recording", {"source": "x", "session": -1}),
    ("import-recording", {"source": "x", "sample_order": "q"}),
    ("upload-recording", {"recording_id": "../a"}),
    ("reprocess-recordings", {"preset": "tiny"}),
    ("prune", {"dry_run": "perhaps"}),
    ("pretrain", {"preset": "huge"}),
    ("pretrain", {"steps": 0}),
    ("finetune", {"seed": -1}),
    ("finetune", {"head": "none"}),
    ("study", {"study": "x", "where": "nowhere"}),
    ("evaluate-fold", {"study": "x", "unit": "y", "device": "abacus"}),
    ("evaluate", {}),
]


def flow_of(entrypoint: str) -> Flow[..., Any]:
    module, name = entrypoint.rsplit(".", 1)
    flow = getattr(importlib.import_module(module), name)
    assert isinstance(flow, Flow)
    return flow


FLOWS = {flow.name: flow for flow in (flow_of(deployment["entrypoint"]) for deployment in DEPLOYMENTS)}


def kinds(schema: dict[str, Any], definitions: dict[str, Any]) -> list[dict[str, Any]]:
    """The alternatives of one parameter, references followed."""
    if "$ref" in schema:
        return kinds(definitions[schema["$ref"].rsplit("/", 1)[1]], definitions)
    if "allOf" in schema:
        return [kind for part in schema["allOf"] for kind in kinds(part, definitions)]
    if "anyOf" in schema:
        return [kind for part in schema["anyOf"] for kind in kinds(part, definitions)]
    return [schema]


@pytest.mark.parametrize("name", FLOWS)
def test_every_parameter_has_a_type_and_a_description_and_every_number_a_bound(name):
    form = FLOWS[name].parameters.model_dump()
    signature = FLOWS[name].fn.__code__.co_varnames[: FLOWS[name].fn.__code__.co_argcount]
    assert tuple(form["properties"]) == signature
    for parameter, schema in form["properties"].items():
        assert len(schema.get("description", "")) > 10, (
            f"{name}: {parameter} has no description in the flow's docstring"
        )
        assert schema["description"].rstrip().endswith("."), f"{name}: {parameter} is not described in a sentence"
        for kind in kinds(schema, form["definitions"]):
            assert "type" in kind or "enum" in kind or "const" in kind, f"{name}: {parameter} has no type"
            if kind.get("type") in ("integer", "number"):
                assert {"minimum", "exclusiveMinimum"} & set(kind), f"{name}: {parameter} has no bound"


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda deployment: deployment["entrypoint"])
def test_every_deployment_is_described_tagged_and_has_a_pool(deployment):
    assert deployment["description"].endswith((".", "."))
    assert deployment["tags"]
    assert deployment["work_pool"]["name"] in ("rig", "cpu", "{{ $MAEPOSE_TRAINING_POOL }}")


@pytest.mark.parametrize(("name", "wrong"), WRONG, ids=str)
def test_what_does_not_fit_is_refused_before_a_run_begins(name, wrong):
    with pytest.raises((ParameterTypeError, TypeError)):
        FLOWS[name].validate_parameters(wrong)


def test_choices_are_those_there_are():
    assert set(get_args(PresetChoice)) == set(PRESETS)
    for name in ("process-recording", "reprocess-recordings"):
        form = FLOWS[name].parameters.model_dump()["properties"]["preset"]
        assert {kind for part in form["anyOf"] for kind in part.get("enum", ())} == set(CUBE_PRESETS)
