"""Presets as methods and modalities change them."""

import pytest

from models.presets import PLUS, PRESETS, Preset, preset
from pipeline.errors import PipelineError


@pytest.mark.parametrize("name", PRESETS)
def test_ours_is_the_plain_method_with_its_switches_on_and_nothing_else(name):
    plain, plus = preset(name).by("maepose").model_dump(), preset(name).by("maepose-plus").model_dump()
    assert PLUS
    for part, switches in PLUS.items():
        for field, value in switches.items():
            assert plus[part].pop(field) == value
            del plain[part][field]
    assert (plain["pose"].pop("method"), plus["pose"].pop("method")) == ("maepose", "maepose-plus")
    assert plain == plus


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("modalities", [("rd",), ("ra",), ("rd", "ra")])
def test_what_a_preset_is_changed_to_still_fits(name, modalities):
    for method in ("maepose-plus", "hupr"):
        changed = preset(name).on(modalities).by(method)
        assert Preset.model_validate(changed.model_dump()) == changed
    assert modalities != ("rd",) or not changed.finetuning.augment.mirror


def test_a_preset_that_is_none_is_refused():
    with pytest.raises(PipelineError, match="no model preset 'huge'; the presets are paper,"):
        preset("huge")
