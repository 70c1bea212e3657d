"""A session's script: which actions the person does, for how long, with pauses to get ready in between."""

from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from pipeline.errors import PipelineError
from pipeline.manifest import NAME_PATTERN

REST_S = 3.0
"""Before each action: the countdown that the screen shows."""


class ScriptStep(BaseModel):
    """One action of a script."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    action: str = Field(pattern=NAME_PATTERN)
    seconds: float = Field(gt=0, le=3600)
    rest_s: float = Field(REST_S, ge=0, le=600, description="pause before it, with a countdown")


@dataclass(frozen=True)
class Act:
    """A step at its place in the session; seconds count from the radar's first frame."""

    action: str
    start_s: float
    stop_s: float


def parse_script(text: str) -> tuple[ScriptStep, ...]:
    """`arm-raise 10, stepping 12.5` - an action and its seconds, steps separated by commas or line ends, `#` for remarks.

    A third word is the pause before the step where it is not 3 s. Raises PipelineError naming the step that is wrong.
    """
    lines = [line.split("#", 1)[0] for line in text.splitlines()]
    steps = []
    for number, part in enumerate((part for line in lines for part in line.split(",") if part.strip()), 1):
        words = part.split()
        try:
            action, *numbers = words
            seconds, rest_s = (*(float(word) for word in numbers), REST_S)[:2]
            steps.append(ScriptStep(action=action, seconds=seconds, rest_s=rest_s))
            if len(numbers) > 2:
                raise ValueError
        except ValueError:
            raise PipelineError(
                f"Step {number} of the script, {part.strip()!r}, is not `ACTION SECONDS [PAUSE]`, for example `arm-raise 10`."
            ) from None
    if not steps:
        raise PipelineError("The script holds no step; write one an action, for example `arm-raise 10, stepping 10`.")
    return tuple(steps)


def read_script(text_or_file: str) -> tuple[ScriptStep, ...]:
    """`parse_script` of a text, or of the file of that name where there is one."""
    path = Path(text_or_file)
    try:
        return parse_script(path.read_text() if path.is_file() else text_or_file)
    except (OSError, UnicodeDecodeError) as error:
        raise PipelineError(f"The script {path} cannot be read: {error}.") from error


def acts_of(steps: tuple[ScriptStep, ...]) -> tuple[Act, ...]:
    """The steps one after the other, each behind its pause."""
    acts, now_s = [], 0.0
    for step in steps:
        now_s += step.rest_s
        acts.append(Act(step.action, now_s, now_s + step.seconds))
        now_s += step.seconds
    return tuple(acts)


def cue(acts: tuple[Act, ...], now_s: float) -> str:
    """What the person is told `now_s` after the first frame: the countdown to the next action, or how long this one goes on."""
    for number, act in enumerate(acts, 1):
        place = f"{number} of {len(acts)}"
        if now_s < act.start_s:
            return f"{act.action} in {act.start_s - now_s:.0f} s ({place})"
        if now_s < act.stop_s:
            return f"{act.action}: {act.stop_s - now_s:.0f} s to go ({place})"
    return "done" if acts else ""
