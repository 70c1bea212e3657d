"""A serial port opened, or one sentence about why not."""

import termios

import serial

from pipeline.errors import PipelineError


def open_serial(port: str, baud: int, timeout_s: float, *, device: str, setting: str, rivals: str) -> serial.Serial:
    """`port`, for this program alone. PipelineError names `device`, the `setting` of rig.toml that names its port, and the
    `rivals` that may hold it.
    """
    try:
        return serial.Serial(port, baud, timeout=timeout_s, write_timeout=2.0, exclusive=True)
    except (OSError, serial.SerialException, ValueError, termios.error) as error:  # termios.error: gone as it is opened
        words = str(error)
        if "No such file" in words:
            advice = f"is not there; plug the {device} in, or name its port in rig.toml ({setting})"
        elif "Permission denied" in words:
            advice = "may not be opened by you; join the group that owns it (usually dialout) and log in again"
        elif "lock" in words or "busy" in words:
            advice = f"is used by another program; close it ({rivals})"
        else:
            advice = f"cannot be opened ({words})"
        raise PipelineError(f"The {device}'s serial port {port} {advice}.") from error
