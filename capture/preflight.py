"""Before a session: whether the disk takes it, and whether every part of the rig answers (`maepose doctor`)."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from capture.awr1843 import RadarClient
from capture.camera_sources import open_camera
from capture.camera_sync_modes import sync_mode_words
from capture.rig import RigWires, card_client, rig_lock, rig_wires
from capture.trigger import TriggerClient
from pipeline.cfg_text import RadarConfig
from pipeline.constraints import Check, check_config
from pipeline.errors import PipelineError
from pipeline.files import free_bytes
from pipeline.settings import RigSettings, waveform_config

PICTURE_BYTES_PER_PIXEL = 1.2
"""Of colour and depth of one moment together, compressed: depth alone took 0.7 (docs/camera.md)."""
FIRST_PICTURE_S = 10.0


def disk_check(root: Path, settings: RigSettings, config: RadarConfig, seconds: float) -> Check:
    """Whether the data root's disk takes `seconds` of samples and pictures and keeps the rig's reserve."""
    needed = int(config.waveform.data_rate_bps / 8 * seconds * 1.03)  # packet records are 2 % of the samples
    camera = settings.camera
    if camera.source != "none":
        needed += int(PICTURE_BYTES_PER_PIXEL * camera.width * camera.height * camera.rate_hz * seconds)
    free = free_bytes(root)
    return Check(
        "disk",
        free >= needed + settings.reserve_bytes,
        f"{seconds:g} s need {needed / 1e9:.2f} GB and {settings.reserve_bytes / 1e9:.2f} GB are kept in reserve, "
        f"{free / 1e9:.2f} GB are free",
        str(root),
    )


def examine(root: Path, settings: RigSettings) -> list[Check]:
    """What `maepose doctor` prints: every part of the rig asked in turn, nothing recorded, nothing raised.

    Data root, waveform rules, disk, then the card (alive, version), the radar (port, firmware), the trigger board and the
    camera. A board or a camera that the rig's settings leave out is not looked for.
    """
    checks: list[Check] = []

    def attempt(name: str, where: str) -> contextlib.AbstractContextManager[None]:
        @contextlib.contextmanager
        def guard() -> Iterator[None]:
            try:
                yield
            except PipelineError as error:
                checks.append(Check(name, False, str(error), where))

        return guard()

    checks.append(Check("rig", True, f"{settings.kind}, waveform {settings.waveform}", str(root / "rig.toml")))
    config = None
    with attempt("waveform", settings.waveform):
        config = waveform_config(root, settings.waveform)
        checks.append(disk_check(root, settings, config, settings.seconds))
    firmware = "unknown"
    with attempt("rig", settings.kind), rig_lock(root, settings), rig_wires(settings) as wires:
        with attempt("card", wires.card_ip), card_client(wires) as card:
            card.system_connect()
            checks.append(Check("card", True, f"answers, FPGA version {card.read_version()}", wires.card_ip))
        with attempt("radar", wires.radar_port), RadarClient(wires.radar_port, wires.radar_baud) as radar:
            firmware = radar.firmware.kind
            checks.append(Check("radar", True, f"answers, firmware {radar.firmware}", radar.port))
        if wires.trigger_port is not None:
            with attempt("trigger board", wires.trigger_port), TriggerClient(wires.trigger_port) as board:
                reading = board.ping()
                answer = f"answers in {(reading.received_ns - reading.sent_ns) / 1e6:.1f} ms, firmware "
                firmware_name = board.identity.firmware if board.identity else "unknown"
                checks.append(Check("trigger board", True, answer + firmware_name, board.port))
        if settings.camera.source != "none":
            with attempt("camera", settings.camera.source):
                checks.append(_camera_check(root, settings, wires))
    if config is not None:
        rules = check_config(config, firmware=firmware, packet_delay_us=settings.packet_delay_us)
        checks += [rule for rule in rules if rule.passed is not None]
    return checks


def _camera_check(root: Path, settings: RigSettings, wires: RigWires) -> Check:
    """Start the camera, take a frame of each stream, let it go."""
    source = open_camera(settings.camera, root, wires.simulated_camera)
    description = source.open()
    try:
        frame = source.read(FIRST_PICTURE_S)
        if frame is None:
            raise PipelineError(
                f"{description.name} opens and sends no picture within {FIRST_PICTURE_S:g} s; plug it in anew, or close other "
                "programs that use it."
            )
        description = source.description
    finally:
        source.close()
    depth = "colour and depth" if description.depth_unit_m else "colour, no depth (so labels have no metres)"
    found = f"{description.name}, {depth}" + (f", USB {description.usb}" if description.usb else "")
    degraded = " ".join(description.degraded)
    if settings.camera.inter_cam_sync_mode and settings.camera.source == "realsense":
        found += f". {sync_mode_words(settings.camera.inter_cam_sync_mode)}"
    return Check("camera", not degraded, f"{found}. {degraded}".strip(), settings.camera.source)
