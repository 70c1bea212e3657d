"""Whether labels are fit to train on: everything measured on one session, the verdict and why, `labels/<id>.quality.json`.

pass    train on it
look    a person should look at the contact sheet first
fail    not for training
"""

from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import numpy as np
from jaxtyping import Float64
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline.labels import LabelVerdict, label_stem
from pipeline.skeleton import JOINTS
from processing.labelling.agreement import LabelsError
from processing.labelling.findings import Finding, worst
from processing.labelling.quality_defects import Defects
from processing.labelling.tracking_sightings import BONES

QUALITY_VERSION = 1


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Pictures(_Part):
    """Radar frames, and what became of the pictures they should have."""

    radar_frames: int
    ambiguous: int = Field(description="radar and colour frame may not belong together")
    without: int = Field(description="no picture was near enough in time")
    looked_at: int
    frozen: int = Field(description="of those looked at: bit for bit the picture before")
    undecodable: int = Field(description="matched, but the video does not give the picture")


class JointQuality(_Part):
    """One joint over the frames in which the person was found; `confidence` is the median where the joint was found."""

    joint: str
    found_share: float
    confidence: float
    jumps: int


class BoneQuality(_Part):
    """One bone: `flicker` is the median change of its length from frame to frame, as a share of the bone's usual length."""

    bone: str
    flicker: float | None
    stretched: int


class LabelQuality(_Part):
    """Everything measured on the labels of one session."""

    version: int = QUALITY_VERSION
    recording: str
    labeller: str
    key: str
    table_sha256: str = Field("", description="of the keypoint table's file as it was written")
    simulated: bool
    verdict: LabelVerdict
    reasons: tuple[str, ...]
    pictures: Pictures
    labelled_frames: int = Field(description="frames in which the person was found")
    people: int = Field(description="different people followed through the session")
    exchanges_s: tuple[float, ...]
    jump_share: float
    stretched_share: float
    flicker: float | None = Field(description="median over the bones of trunk and thighs")
    swaps: int = Field(description="changes of sides, of arms or legs")
    scale_source: str
    scaled_share: float = Field(description="labelled frames with metres")
    joints: tuple[JointQuality, ...]
    bones: tuple[BoneQuality, ...]
    agreement: LabelsError | None = Field(description="with another table of the same recording; None: there is none")


def quality_path(root: Path, recording_id: str, labeller: str | None = None) -> Path:
    """Where the report lies: beside the table it is about."""
    return root / "labels" / f"{label_stem(recording_id, labeller)}.quality.json"


def read_quality(path: Path) -> LabelQuality | None:
    """The report at `path`; None where there is none that this version reads."""
    try:
        return LabelQuality.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None


_STEADY_BONES = [number for number, bone in enumerate(BONES) if bone in {(1, 7), (4, 8), (1, 4), (7, 9), (8, 10)}]


def measure_labels(
    *,
    recording: str,
    labeller: str,
    key: str,
    simulated: bool,
    pictures: Pictures,
    confidence: Float64[np.ndarray, "frame joint"],
    defects: Defects,
    others: Sequence[Finding],
    people: int,
    exchanges_s: tuple[float, ...],
    scale_source: str,
    scaled: int,
    agreement: LabelsError | None,
) -> LabelQuality:
    """Judge a session. Arrays are of the frames looked at, one without any joint has nobody; `others` were found elsewhere."""
    found = confidence > 0
    labelled = found.any(axis=1)
    count = int(labelled.sum())
    joints = tuple(
        JointQuality(
            joint=name,
            found_share=float(found[labelled, joint].mean()) if count else 0.0,
            confidence=float(np.median(confidence[found[:, joint], joint])) if found[:, joint].any() else 0.0,
            jumps=int(defects.jumped[:, joint].sum()),
        )
        for joint, name in enumerate(JOINTS)
    )
    flickers = [_median(defects.flicker[:, bone]) for bone in range(len(BONES))]
    steady = [flickers[bone] for bone in _STEADY_BONES]
    flicker = _median(np.array([np.nan if one is None else one for one in steady]))
    bones = tuple(
        BoneQuality(
            bone=f"{JOINTS[first]} to {JOINTS[second]}",
            flicker=flickers[number],
            stretched=int(defects.stretched[:, number].sum()),
        )
        for number, (first, second) in enumerate(BONES)
    )
    findings = [
        *_of_pictures(pictures),
        *others,
        *_of_joints(joints, count, pictures.looked_at),
        *_of_movement(defects, bones, flicker),
        *_of_scale(scale_source, scaled, count),
        *([] if agreement is None else _of_agreement(agreement)),
    ]
    verdict = worst(findings)
    findings.sort(key=lambda finding: -get_args(LabelVerdict).index(finding.verdict))
    return LabelQuality(
        recording=recording,
        labeller=labeller,
        key=key,
        simulated=simulated,
        verdict=verdict,
        reasons=tuple(finding.sentence for finding in findings) or ("Nothing stands out.",),
        pictures=pictures,
        labelled_frames=count,
        people=people,
        exchanges_s=exchanges_s,
        jump_share=defects.jump_share,
        stretched_share=defects.stretched_share,
        flicker=flicker,
        swaps=int(defects.swapped.sum()),
        scale_source=scale_source,
        scaled_share=scaled / max(count, 1),
        joints=joints,
        bones=bones,
        agreement=agreement,
    )


def _graded(value: float, look: float, fail: float, sentence: str) -> list[Finding]:
    """A finding where `value` exceeds a limit."""
    if value > fail:
        return [Finding("fail", sentence)]
    return [Finding("look", sentence)] if value > look else []


def _of_pictures(pictures: Pictures) -> list[Finding]:
    radar, looked = max(pictures.radar_frames, 1), max(pictures.looked_at, 1)
    # A clip of 20 frames tolerates a lost label here and there; where every tenth is gone most clips are touched.
    out = _graded(
        pictures.without / radar, 0.1, 0.5,
        f"{pictures.without} of {pictures.radar_frames} radar frames have no picture near enough in time.",
    )  # fmt: skip
    out += _graded(
        pictures.ambiguous / radar, 0.02, 0.5,
        f"{pictures.ambiguous} of {pictures.radar_frames} radar frames are matched ambiguously to pictures.",
    )  # fmt: skip
    # A camera repeats a picture when it is late; more than a few in a row is a stuck stream and labels that stand still.
    out += _graded(
        pictures.frozen / looked, 0.01, 0.2,
        f"{pictures.frozen} of {pictures.looked_at} pictures are frozen: bit for bit the one before.",
    )  # fmt: skip
    absent = pictures.undecodable / max(pictures.looked_at + pictures.undecodable, 1)
    return out + _graded(absent, 0.0, 0.1, f"{pictures.undecodable} pictures cannot be decoded.")


def _of_joints(joints: Sequence[JointQuality], labelled: int, looked_at: int) -> list[Finding]:
    if not looked_at or not labelled:
        return []
    missing = 1 - labelled / looked_at
    out = _graded(missing, 0.1, 0.5, f"The person is found in {labelled} of {looked_at} pictures only.")
    # Half of a joint's labels teach it still; whoever trains should know which joints those are.
    rare = [joint for joint in joints if joint.found_share < 0.7]
    if rare:
        named = ", ".join(f"{_name(joint.joint)} ({joint.found_share:.0%})" for joint in rare)
        mean = float(np.mean([joint.found_share for joint in joints]))
        out.append(Finding("fail" if mean < 0.5 else "look", f"Rarely found: {named}."))
    # Both labellers' confidence is about .8 to 1 on a joint in plain view; under a half it is a guess.
    unsure = [joint for joint in joints if joint.found_share >= 0.7 and joint.confidence < 0.5]
    if unsure:
        named = ", ".join(f"{_name(joint.joint)} ({joint.confidence:.2f})" for joint in unsure)
        out.append(Finding("fail" if len(unsure) > len(joints) / 2 else "look", f"Low confidence: {named}."))
    return out


def _of_movement(defects: Defects, bones: Sequence[BoneQuality], flicker: float | None) -> list[Finding]:
    jumps, stretched = int(defects.jumped.sum()), int(defects.stretched.sum())
    worst_joint = JOINTS[int(defects.jumped.sum(axis=0).argmax())] if len(defects.jumped) else JOINTS[0]
    # One joint in two hundred jumping is one in every fifteen frames with a wrong joint.
    out = _graded(
        defects.jump_share, 0.005, 0.03,
        f"Joints jump faster than people move {jumps} times ({defects.jump_share:.1%} of steps), "
        f"the {_name(worst_joint)} most often.",
    )  # fmt: skip
    longest = max(bones, key=lambda bone: bone.stretched)
    out += _graded(
        defects.stretched_share, 0.01, 0.05,
        f"Bones are longer than bones are {stretched} times ({defects.stretched_share:.1%} of lengths), "
        f"{_name(longest.bone)} most often.",
    )  # fmt: skip
    # 0.12 of a trunk's side between frames is noise of some 4 cm at each joint: the error that is to be learned away.
    out += _graded(
        flicker or 0.0, 0.12, 0.25,
        f"Bone lengths flicker by {flicker or 0:.0%} from frame to frame: the joints are noisy.",
    )  # fmt: skip
    # A swap teaches the mirror image of a pose. Two changes are one wrong stretch, which may be any length.
    return out + _graded(
        defects.swap_share, 0.003, 0.03,
        f"Left and right change places {int(defects.swapped.sum())} times "
        f"(arms {int(defects.swapped[:, 0].sum())}, legs {int(defects.swapped[:, 1].sum())}).",
    )  # fmt: skip


def _of_scale(source: str, scaled: int, labelled: int) -> list[Finding]:
    if source == "none" or not labelled:
        return (
            [Finding("pass", "There are no metres: neither depth nor a body height gives a scale.")] if labelled else []
        )
    missing = 1 - scaled / labelled
    return _graded(
        missing, 0.1, 1.0, f"{labelled - scaled} of {labelled} labelled frames have no metres: depth has holes."
    )


def _of_agreement(agreement: LabelsError) -> list[Finding]:
    if agreement.pck_torso_02 is None:
        return [Finding("look", f"There is no joint that {agreement.against} has labelled too.")]
    # Two good labellers agree on 97 % within a fifth of the trunk; people labelling COCO agree about as well.
    said = (
        f"{1 - agreement.pck_torso_02:.0%} of joints lie more than a fifth of a trunk from where "
        f"{agreement.against} has them (median {agreement.median_px:.1f} px)."
    )
    return _graded(1 - agreement.pck_torso_02, 0.1, 0.3, said)


def _name(joint: str) -> str:
    return joint.replace("_", " ")


def _median(values: Float64[np.ndarray, " some"]) -> float | None:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else None
