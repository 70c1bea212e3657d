"""What a check found: a sentence for a person, and how bad it is."""

from collections.abc import Iterable
from dataclasses import dataclass

from pipeline.labels import LabelVerdict

_RANK: dict[LabelVerdict, int] = {"pass": 0, "look": 1, "fail": 2}


@dataclass(frozen=True)
class Finding:
    """One sentence, and the verdict it brings with it; `pass` is worth knowing and harms nothing."""

    verdict: LabelVerdict
    sentence: str


def worst(findings: Iterable[Finding]) -> LabelVerdict:
    """The worst verdict among findings; `pass` where there are none."""
    return max((finding.verdict for finding in findings), key=_RANK.__getitem__, default="pass")
