"""The rig as the recorder sees it: where its wires end, that nobody else holds it, and the order in which it is armed."""

import contextlib
import json
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from capture.awr1843 import RadarClient
from capture.dca1000 import CardClient
from capture.script import Act
from pipeline.errors import PipelineError
from pipeline.locks import open_lock, take_lock
from pipeline.settings import RigSettings, SimulatedClock

SIMULATED_CLOCKS = {
    "board": SimulatedClock(offset_s=17.25, drift_ppm=23.0),
    "camera": SimulatedClock(offset_s=4210.5, drift_ppm=-31.0),
}
"""No two crystals agree: what a simulated rig's clocks show where its settings do not say."""


@dataclass(frozen=True)
class RigWires:
    """Where the rig answers. Port 0 lets the system choose the host's end; a real rig's are fixed."""

    card_ip: str
    config_port: int
    host_ip: str
    host_config_port: int
    data_port: int
    radar_port: str
    radar_baud: int | None
    trigger_port: str | None = None
    speed: float = 1.0
    simulated_camera: dict[str, Any] | None = None


@dataclass(frozen=True)
class Staging:
    """Who does what in front of a simulated rig; a real one does not care."""

    participant: str | None = None
    acts: tuple[Act, ...] = ()


@contextlib.contextmanager
def rig_wires(settings: RigSettings, staging: Staging | None = None) -> Iterator[RigWires]:
    """The configured rig's wires; a simulated one, that shows `staging`, is started for as long as the context lasts."""
    if not settings.simulated:
        yield RigWires(
            card_ip=settings.card_ip,
            config_port=settings.config_port,
            host_ip=settings.host_ip,
            host_config_port=settings.config_port,
            data_port=settings.data_port,
            radar_port=settings.radar_port,
            radar_baud=settings.radar_baud,
            trigger_port=settings.trigger.port if settings.trigger.port != "none" else None,
        )
        return
    simulator, scene = settings.simulator, _scene(settings, staging or Staging())
    clocks = {name: SIMULATED_CLOCKS[name] for name in SIMULATED_CLOCKS} | dict(simulator.clocks)
    data_port = _free_udp_port("127.0.0.1")
    command = [
        *(sys.executable, "-m", "capture.simulator.rig", "--json"),
        *("--data-port", str(data_port), "--scene", json.dumps(scene), "--speed", str(simulator.speed)),
        *("--firmware", simulator.firmware, "--faults", json.dumps(simulator.faults)),
        *("--clocks", json.dumps({name: clock.model_dump() for name, clock in clocks.items()})),
    ]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            _, words = process.communicate()
            raise PipelineError(
                f"The simulated rig did not start: {(words.strip().splitlines() or ['it said nothing'])[-1]}"
            )
        wires = json.loads(line)
        yield RigWires(
            card_ip=wires["card_ip"],
            config_port=wires["config_port"],
            host_ip="127.0.0.1",
            host_config_port=0,
            data_port=data_port,
            radar_port=wires["radar_port"],
            radar_baud=None,
            trigger_port=wires["trigger_port"] if settings.trigger.port != "none" else None,
            speed=simulator.speed,
            simulated_camera={
                "scene": scene,
                "rig_origin_monotonic_s": wires["origin_monotonic_s"],
                "speed": simulator.speed,
                "clock": clocks["camera"].model_dump(),
                "faults": simulator.faults,
                "sync_cable": ("127.0.0.1", wires["sync_cable_port"]),
            },
        )
    finally:
        process.terminate()
        process.communicate()


def _scene(settings: RigSettings, staging: Staging) -> dict[str, Any]:
    """Fields of `capture.simulator.shown.SceneOrder`."""
    acts = [asdict(act) for act in staging.acts]
    simulator = settings.simulator
    return {"seed": simulator.seed, "participant": staging.participant, "acts": acts, "people": simulator.people}


@contextlib.contextmanager
def rig_lock(root: Path, settings: RigSettings) -> Iterator[None]:
    """Hold the rig: a real one for the whole machine, the simulated one for its data root. PipelineError when it is taken."""
    machine_wide = Path(tempfile.gettempdir()) / f"maepose-rig-{settings.card_ip}.lock"
    path = root / ".rig.lock" if settings.simulated else machine_wide
    with contextlib.ExitStack() as stack:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = stack.enter_context(open_lock(path))
        except OSError as error:
            raise PipelineError(
                f"The rig's lock {path} cannot be opened: {error.strerror}; while nothing is recorded, remove that file or "
                "have its owner remove it."
            ) from error
        if not take_lock(lock):
            raise PipelineError(
                "Another capture is using this rig; wait for it to end or stop it (`maepose list` shows what is recording)."
            )
        yield


def _free_udp_port(host_ip: str) -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind((host_ip, 0))
        return int(probe.getsockname()[1])


def card_client(wires: RigWires) -> CardClient:
    """A client of the card at the wires' end."""
    return CardClient(wires.card_ip, wires.host_ip, wires.config_port, host_port=wires.host_config_port)


@dataclass(frozen=True)
class Rig:
    """A connected rig."""

    wires: RigWires
    card: CardClient
    radar: RadarClient
    description: dict[str, object]


@contextlib.contextmanager
def open_rig(settings: RigSettings, wires: RigWires) -> Iterator[Rig]:
    """Connect to card and radar and ask both who they are; PipelineError says which does not answer and what to check."""
    with card_client(wires) as card, RadarClient(wires.radar_port, wires.radar_baud) as radar:
        card.system_connect()
        description: dict[str, object] = {
            "kind": settings.kind,
            "card": {"address": wires.card_ip, "fpga_version": str(card.read_version())},
            "radar": {"port": radar.port, "firmware": str(radar.firmware)},
            "settings": settings.model_dump(mode="json"),
        }
        yield Rig(wires, card, radar, description)


def arm(rig: Rig, config_text: str, packet_delay_us: int, listen: Callable[[], None]) -> None:
    """Everything up to, and without, the radar's start: after this the card waits for samples.

    Order found to work: record stop, reset radar, configure radar, configure card, `listen` (which forgets what an earlier
    recording left in the data socket and receives from then on), record start.
    """
    with contextlib.suppress(PipelineError):
        rig.card.record_stop()  # fails when nothing was recording, which is the usual case
    rig.card.reset_radar()
    rig.radar.wait_ready()
    rig.radar.send_config(config_text)
    rig.card.configure_fpga()
    rig.card.configure_packets(delay_us=packet_delay_us)
    listen()
    rig.card.record_start()
