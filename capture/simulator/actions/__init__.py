"""The paper's 20 actions by name. Every person does each in their own way, and never twice alike.

The paper numbers the try-on and movement set A1 to A11 and the yoga set A12 to A20, in the order kept here.
"""

from collections.abc import Callable

from capture.simulator.actions import flows, gestures, lunges, poses, trunk
from capture.simulator.motion import Motion
from capture.simulator.person import Person
from capture.simulator.stage import Stage
from pipeline.errors import PipelineError

Factory = Callable[[Person, int, float], Motion]

_TRYON: dict[str, Callable[[Stage], None]] = {
    "shoulder-roll": trunk.shoulder_roll,
    "sleeve-adjust": gestures.sleeve_adjust,
    "stepping": trunk.stepping,
    "arm-raise": gestures.arm_raise,
    "torso-twist": trunk.torso_twist,
    "chest-expand": gestures.chest_expand,
    "arm-flap": gestures.arm_flap,
    "head-turn": trunk.head_turn,
    "hand-slide": gestures.hand_slide,
    "arm-swing": gestures.arm_swing,
    "forearm-lift": gestures.forearm_lift,
}
_YOGA: dict[str, Callable[[Stage], None]] = {
    "crescent-side-stretch": poses.crescent_side_stretch,
    "standing-heart-opener": poses.standing_heart_opener,
    "gate-pose-reach": poses.gate_pose_reach,
    "dynamic-knee-march": flows.dynamic_knee_march,
    "shoulder-opening-flow": flows.shoulder_opening_flow,
    "revolved-crescent-lunge": lunges.revolved_crescent_lunge,
    "skaters-balance-flow": flows.skaters_balance_flow,
    "warrior-chest-opener": lunges.warrior_chest_opener,
    "reverse-warrior-reach": lunges.reverse_warrior_reach,
}

TRYON_MOVE: tuple[str, ...] = tuple(_TRYON)
"""A1 to A11, of mmTryOn."""
MOVE: tuple[str, ...] = TRYON_MOVE[:10]
"""A1 to A10, of mmMove: all of mmTryOn's but forearm lift (the paper's Table 1)."""
YOGA: tuple[str, ...] = tuple(_YOGA)
"""A12 to A20, of mmYoga."""


def perform(action: str, person: Person, repetition_seed: int, duration_s: float) -> Motion:
    """`person` doing `action` for `duration_s`; another `repetition_seed` is another take.

    Raises PipelineError for an unknown action, a duration that is not positive, or a negative seed.
    """
    script = (_TRYON | _YOGA).get(action)
    if script is None:
        raise PipelineError(f"There is no action {action!r}; the actions are {', '.join((*TRYON_MOVE, *YOGA))}.")
    if not duration_s > 0:
        raise PipelineError(f"{action}: a motion of {duration_s} s cannot be made; ask for a positive duration.")
    if repetition_seed < 0:
        raise PipelineError(f"{action}: a repetition's seed is a whole number from 0 on, not {repetition_seed}.")
    stage = Stage(person, action, repetition_seed, duration_s)
    script(stage)
    return stage.performance()


def _factory(action: str) -> Factory:
    return lambda person, repetition_seed, duration_s: perform(action, person, repetition_seed, duration_s)


ACTIONS: dict[str, Factory] = {action: _factory(action) for action in (*TRYON_MOVE, *YOGA)}
"""Every action by its slug: called with a person, a repetition seed and a duration in seconds, it gives the motion."""
