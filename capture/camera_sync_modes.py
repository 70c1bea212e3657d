"""What a RealSense's `inter_cam_sync_mode` does and does not do, in words for whoever sets it.

Sources: librealsense, `rs_option.h` (RS2_OPTION_INTER_CAM_SYNC_MODE); Intel, "Using the RealSense D4xx depth sensors in
multi-camera configurations". None of it was tried on a camera here.
"""

_COLOUR = "Colour runs freely in every mode: nothing here makes a pulse start a colour exposure."
_PIN = "The sync pin takes and gives 1.8 V, pulses of 100 us or more."


def sync_mode_words(mode: int) -> str:
    """A sentence or two about a mode; colour is never promised to be triggered."""
    if mode == 0:
        said = (
            "Mode 0: depth and colour run by the camera's own clock; frames are matched to pulses by their times alone."
        )
    elif mode == 1:
        said = (
            "Mode 1 (master): depth runs by the camera's own clock and the sync pin gives a pulse each depth exposure, which "
            "the trigger board can time."
        )
    elif mode in (2, 3):
        kind = "slave" if mode == 2 else "full slave"
        said = f"Mode {mode} ({kind}): depth follows pulses on the sync pin that come at nearly its own frame rate."
    else:
        burst = "" if mode == 4 else f", {mode - 3} depth frames a pulse"
        said = (
            f"Mode {mode} (genlock{burst}): each pulse on the sync pin starts depth exposures. Its maker no longer supports "
            "genlock; check the depth frames' times against the pulses before trusting it."
        )
    return f"{said} {_COLOUR}{'' if mode == 0 else f' {_PIN}'}"
