"""The trigger board's lines as the host reads and writes them; framing and CRC are the firmware's own (firmware/lines.py)."""

from dataclasses import dataclass

from capture.firmware.schedule import FASTEST_MHZ, SLOWEST_MHZ
from pipeline.errors import PipelineError
from pipeline.settings import TriggerSettings


@dataclass(frozen=True)
class Accepted:
    """`OK <cmd>`."""

    command: str


@dataclass(frozen=True)
class Refused:
    """`ERR <code>`: crc, command, argument, busy or run."""

    code: str


@dataclass(frozen=True)
class Pong:
    """`PONG <nonce> <t_us>`: the board's clock as it answered."""

    nonce: int
    board_us: int


@dataclass(frozen=True)
class Boot:
    """`BOOT <id> <fw>`: after power-up and in answer to ID?; `boot` changes with every start of the board."""

    boot: int
    firmware: str


@dataclass(frozen=True)
class Pulse:
    """`P <run> <k> <t_us>`: pulse k rose at board time `board_us`."""

    run: int
    number: int
    board_us: int


@dataclass(frozen=True)
class Edge:
    """`C <run> <j> <t_us>`: the camera's sync-out rose, the j-th time since the board started."""

    run: int
    number: int
    board_us: int


@dataclass(frozen=True)
class TriggerStatus:
    """`S <run> <sent> <late> <state>`: pulses sent and left out for being late; idle, running, done, stopped or silent."""

    run: int
    sent: int
    late: int
    state: str


BoardLine = Accepted | Refused | Pong | Boot | Pulse | Edge | TriggerStatus


@dataclass(frozen=True)
class TriggerOrder:
    """What `START` asks for."""

    hz: float
    pulses: int
    run: int
    signature: bool

    def __post_init__(self) -> None:
        if not SLOWEST_MHZ <= self.hz * 1000 <= FASTEST_MHZ or abs(self.hz * 1000 - self.rate_mhz) > 1e-6:
            raise PipelineError(
                f"The trigger board cannot pulse at {self.hz} Hz: it takes {SLOWEST_MHZ / 1000:g} to {FASTEST_MHZ / 1000:g} Hz "
                "in steps of 0.001 Hz."
            )
        if not 0 < self.pulses < 2**32 or not 0 < self.run < 2**32:
            raise PipelineError(
                f"The trigger board takes 1 to {2**32 - 1} pulses, and run numbers alike; not {self.pulses} as run {self.run}."
            )

    @property
    def rate_mhz(self) -> int:
        """Thousandths of a hertz, as the schedule counts."""
        return round(self.hz * 1000)

    @property
    def line(self) -> str:
        whole, part = divmod(self.rate_mhz, 1000)
        hz = f"{whole}.{part:03d}".rstrip("0").rstrip(".")
        return f"START hz={hz} n={self.pulses} run={self.run} sig={int(self.signature)}"


def config_line(settings: TriggerSettings) -> str:
    """`CFG` for the settings of a rig."""
    return f"CFG radar_us={settings.radar_us} cam_us={settings.camera_us} cam_delay_us={settings.camera_delay_us}"


def parse_line(text: str) -> BoardLine | None:
    """What a text whose CRC was right says; None where it is nothing this host knows."""
    name, *words = text.split(" ")
    try:
        match name, words:
            case "OK", [command]:
                return Accepted(command)
            case "ERR", [code]:
                return Refused(code)
            case "PONG", [nonce, board_us]:
                return Pong(int(nonce), int(board_us))
            case "BOOT", [boot, firmware]:
                return Boot(int(boot), firmware)
            case "P", [run, number, board_us]:
                return Pulse(int(run), int(number), int(board_us))
            case "C", [run, number, board_us]:
                return Edge(int(run), int(number), int(board_us))
            case "S", [run, sent, late, state]:
                return TriggerStatus(int(run), int(sent), int(late), state)
    except ValueError:
        pass
    return None
