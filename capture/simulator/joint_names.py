"""Which joint of a motion-capture skeleton is which: skeletons name their joints as their makers please."""

import re

import numpy as np
from jaxtyping import Float64

from capture.simulator.tracks import POINTS, Positions
from pipeline.errors import PipelineError

Path3 = Float64[np.ndarray, "frame 3"]

# What may follow "left" or "l" in the name of the joint where a bone begins, the surest name first: BVH as exported from
# CMU's and from character rigs, Poser and Biped names, Acclaim (ASF) bones.
_STEMS: dict[str, tuple[str, ...]] = {
    "hip": ("upleg", "upperleg", "thigh", "femur", "hip"),
    "knee": ("lowleg", "lowerleg", "knee", "shin", "tibia", "calf", "leg"),
    "ankle": ("ankle", "foot"),
    "toe": ("toebase", "toes", "toe", "ball"),
    "shoulder": ("uparm", "upperarm", "shldr", "humerus", "arm", "shoulder"),
    "elbow": ("forearm", "lowarm", "lowerarm", "elbow", "radius"),
    "wrist": ("wrist", "hand"),
}
_OPTIONAL = {"toe"}
_NECK_ABOVE_SHOULDERS = 0.03  # of the trunk's length
_SPINE_SHARE = 0.37  # of the way from hips to neck that the ribs end (person.py's table)


class Skeleton:
    """Joints of a file by their own names: `parents`, `rest` positions (all angles zero), and `positions` over time.

    `ends` are the free ends of bones that no joint follows, by the name of the joint they hang on.
    """

    def __init__(
        self,
        source: str,
        parents: dict[str, str | None],
        rest: dict[str, Float64[np.ndarray, "3"]],
        positions: dict[str, Path3],
        rest_ends: dict[str, Float64[np.ndarray, "3"]],
        ends: dict[str, Path3],
    ) -> None:
        self.source, self.parents, self.rest, self.positions = source, parents, rest, positions
        self.rest_ends, self.ends = rest_ends, ends
        self._plain = {_plain(name): name for name in reversed(list(parents))}

    def points(self) -> Positions:
        """Positions of `tracks.POINTS`. Raises PipelineError naming the parts that no joint's name tells."""
        out: dict[str, Path3] = {}
        names: dict[str, str] = {}
        missing = []
        for side in ("left", "right"):
            for part in _STEMS:
                found = self._find(side, part)
                if found is not None:
                    names[f"{side}_{part}"] = found
                    out[f"{side}_{part}"] = self.positions[found]
                elif part not in _OPTIONAL:
                    missing.append(f"{side} {part}")
        head = self._plain.get("head")
        if head is None:
            missing.append("head")
        if missing or head is None:
            raise PipelineError(
                f"{self.source}: no joint is recognisably the {', '.join(missing)} among {', '.join(self.parents)}."
            )
        out["head"] = self.positions[head] if head not in self.ends else 0.5 * (self.positions[head] + self.ends[head])
        for side in ("left", "right"):
            out[f"{side}_hand"] = self._beyond(names[f"{side}_wrist"], names[f"{side}_elbow"])
            if f"{side}_toe" not in out:
                ankle = names[f"{side}_ankle"]
                if not self._children(ankle) and ankle not in self.ends:
                    raise PipelineError(f"{self.source}: nothing tells where the {side} foot points.")
                out[f"{side}_toe"] = self._beyond(ankle, names[f"{side}_knee"])
        out["spine"], out["neck"] = self._spine_and_neck(head, names)
        return np.stack([out[name] for name in POINTS], axis=1)

    def _find(self, side: str, part: str) -> str | None:
        for stem in _STEMS[part]:
            for plain in (side + stem, side[0] + stem, stem + side, stem + side[0]):
                if plain in self._plain:
                    return self._plain[plain]
        return None

    def _children(self, name: str) -> list[str]:
        return [child for child, parent in self.parents.items() if parent == name]

    def _beyond(self, joint: str, before: str) -> Path3:
        """A point that a bone beginning at `joint` leads to: the farthest of what hangs on it, else straight on."""
        candidates: list[tuple[float, Path3]] = []
        waiting = [joint]
        while waiting:
            name = waiting.pop()
            waiting += self._children(name)
            places = [(self.rest[name], self.positions[name])]
            if name in self.ends:
                places.append((self.rest_ends[name], self.ends[name]))
            candidates += [(float(np.linalg.norm(rest - self.rest[joint])), path) for rest, path in places]
        far, path = max(candidates, key=lambda candidate: candidate[0])
        if far > 0:
            return path
        return self.positions[joint] + 0.4 * (self.positions[joint] - self.positions[before])

    def _spine_and_neck(self, head: str, names: dict[str, str]) -> tuple[Path3, Path3]:
        """Points of the chain of joints from the hips to the head: level with the shoulders, and where the ribs end."""
        chain: list[str] = []
        joint: str | None = head
        while joint is not None:
            chain.append(joint)
            joint = self.parents[joint]
        hips_rest = 0.5 * (self.rest[names["left_hip"]] + self.rest[names["right_hip"]])
        hips = 0.5 * (self.positions[names["left_hip"]] + self.positions[names["right_hip"]])
        shoulders = 0.5 * (self.rest[names["left_shoulder"]] + self.rest[names["right_shoulder"]])
        trunk = shoulders - hips_rest
        length = float(np.linalg.norm(trunk))
        if length == 0:
            raise PipelineError(f"{self.source}: shoulders and hips coincide in the skeleton's rest position.")
        # Joints by how far up the trunk they lie at rest, the hips first; those below the hips are of no use.
        knots = [(0.0, hips)]
        for name in reversed(chain):
            share = float((self.rest[name] - hips_rest) @ trunk) / length**2
            if share > knots[-1][0] + 1e-6:
                knots.append((share, self.positions[name]))
        neck_share, neck = min(knots[1:] or knots, key=lambda knot: abs(knot[0] - 1.0 - _NECK_ABOVE_SHOULDERS))
        wanted = _SPINE_SHARE * neck_share
        above = next(number for number, (share, _) in enumerate(knots) if share >= wanted)
        (low, start), (high, stop) = knots[max(above - 1, 0)], knots[above]
        along = (wanted - low) / (high - low) if high > low else 0.0
        return start + along * (stop - start), neck


def _plain(name: str) -> str:
    """A joint's name without a rig's prefix, case or punctuation."""
    plain = re.sub(r"[^a-z0-9]", "", name.lower().rsplit(":", 1)[-1])
    return re.sub(r"^(mixamorig\d*|bip\d+|bvh)", "", plain)
