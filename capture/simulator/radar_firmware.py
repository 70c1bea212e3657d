"""What the radar's firmware does with a line of its command line: the text it prints, and the configuration it keeps.

Two images for xWR18xx, as their sources and logs show them (TI mmWave SDK 3.x `cli.c` and `mmw_cli.c`; TI Radar Toolbox
`studio_cli`): the stock demo, and the "mmWave Studio CLI" image, which knows no detection commands and has error numbers
of its own. Banner, prompt and `version` are the same on both; only `help` tells them apart.
"""

from dataclasses import dataclass, field
from typing import Literal

from pipeline.cfg_text import ARGUMENT_COUNTS, DETECTION_COMMANDS, parse_cfg
from pipeline.errors import PipelineError
from pipeline.waveform import Waveform

FirmwareKind = Literal["mmwDemo", "studio-cli"]
FIRMWARE_KINDS: tuple[FirmwareKind, ...] = ("mmwDemo", "studio-cli")  # at 115200 and at 921600 baud
PROMPT = "mmwDemo:/>"
_SDK = "03.06.02.00"
BANNER = f"{'*' * 42}\nxWR18xx MMW Demo {_SDK}\n{'*' * 42}\n"
_VERSION = (
    "Platform                : xWR18xx\n"
    f"mmWave SDK Version      : {_SDK}\n"
    "Device Info             : AWR18XX non-secure ES 02.00\n"
    "RF F/W Version          : 02.02.03.00.20.08.11\n"
    "RF F/W Patch            : 00.00.00.00.00.00.00\n"
    "mmWaveLink Version      : 01.02.06.06\n"
)
_DETECTION_MATRIX_BYTES = 32 * 1024  # of the stock demo; with a bigger one it hangs in sensorStart
_REQUIRED_BY_DEMO = (
    *("channelCfg", "adcCfg", "adcbufCfg", "profileCfg", "chirpCfg", "frameCfg", "lowPower", "lvdsStreamCfg"),
    *("guiMonitor", "cfarCfg", "multiObjBeamForming", "clutterRemoval", "calibDcRangeSig", "extendedMaxVelocity"),
    *("compRangeBiasAndRxChanPhase", "measureRangeBiasAndRxChanPhase", "CQRxSatMonitor", "CQSigImgMonitor"),
    *("analogMonitor", "aoaFovCfg", "cfarFovCfg", "calibData"),
)
_REQUIRED_BY_STUDIO = ("channelCfg", "adcCfg", "adcbufCfg", "profileCfg", "chirpCfg", "frameCfg", "lvdsStreamCfg")


class FirmwareHangError(Exception):
    """The firmware has stopped answering; only a reset brings it back."""


@dataclass
class RadarFirmware:
    """One image's memory: the lines kept since the last flush, and whether the sensor runs.

    `streaming` is the waveform whose samples go out over LVDS; None while the sensor stands still or keeps them on chip.
    """

    kind: FirmwareKind = "mmwDemo"
    running: bool = False
    streaming: Waveform | None = None
    _kept: list[str] = field(default_factory=list)

    @property
    def commands(self) -> tuple[str, ...]:
        """Commands this image knows."""
        known = (*ARGUMENT_COUNTS, "help")
        return known if self.kind == "mmwDemo" else tuple(name for name in known if name not in DETECTION_COMMANDS)

    def answer(self, line: str) -> str:
        """What is printed after `line` and before the next prompt. Raises FirmwareHangError when the image hangs."""
        if line.startswith("%"):
            return "Skipped\n"
        words = line.split()
        if not words:
            return ""
        name, arguments = words[0], words[1:]
        if name not in self.commands:
            return (
                "Error -1\nError -50\n"
                if self.kind == "studio-cli"
                else f"'{name}' is not recognized as a CLI command\n"
            )
        try:
            printed = self._obey(name, arguments, line)
        except _CommandError as error:
            return f"{error.text}Error {error.code}\n"
        return f"{printed}Done\n"

    def _obey(self, name: str, arguments: list[str], line: str) -> str:
        if name == "help":
            return "".join(f"{command}: No help available\n" for command in self.commands)
        if name == "version":
            return _VERSION
        if name == "queryDemoStatus":
            return f"Sensor State: {2 if self.running else 0}\nData port baud rate: 921600\n"
        if name == "sensorStart":
            return self._sensor_start(arguments)
        if name == "sensorStop":
            return self._sensor_stop()
        if name == "flushCfg":
            self._kept.clear()
            return ""
        if self.running and self.kind == "mmwDemo":
            return "Ignored: This command is not allowed after sensor has started\n"
        self._check(name, arguments)
        self._kept.append(line)
        return ""

    def _check(self, name: str, arguments: list[str]) -> None:
        studio = self.kind == "studio-cli"
        if len(arguments) not in ARGUMENT_COUNTS[name]:
            raise _CommandError(-51) if studio else _CommandError(-1, "Error: Invalid usage of the CLI command\n")
        values = [_number(word) for word in arguments]
        wrong = {
            "dfeDataOutputMode": lambda: values[0] not in (1, 2, 3),
            "adcbufCfg": lambda: values[4] != 1,
            "profileCfg": lambda: not 76 <= values[1] <= 81 or values[9] < 2,
            "frameCfg": lambda: not 1 <= values[2] <= 255 or values[5] not in (1, 2),
            "lvdsStreamCfg": lambda: studio and (values[1] or values[3]),
        }
        if name in wrong and wrong[name]():
            raise _CommandError(-55 if name == "lvdsStreamCfg" else -52 if studio else -1)

    def _sensor_start(self, arguments: list[str]) -> str:
        studio = self.kind == "studio-cli"
        if self.running:
            if studio:
                raise _CommandError(-54)
            return "Ignored: Sensor is already started\n"
        if studio and arguments == ["1"]:
            raise _CommandError(-53)
        given = {line.split()[0] for line in self._kept}
        if any(name not in given for name in (_REQUIRED_BY_STUDIO if studio else _REQUIRED_BY_DEMO)):
            if studio:
                raise _CommandError(-57)
            raise _CommandError(
                -1,
                "Error: You have provided incomplete config between stop and this command and partial configuration "
                'cannot be undone.Issue the full configuration and do "sensorStart" \n',
            )
        try:
            config = parse_cfg("\n".join(self._kept), "radar")
        except PipelineError:
            raise _CommandError(-57 if studio else -203) from None
        waveform = config.waveform
        if not studio and _next_power(waveform.samples) * _next_power(waveform.loops) * 2 > _DETECTION_MATRIX_BYTES:
            raise FirmwareHangError
        self.running = True
        self.streaming = waveform if config.adc_streamed else None
        return "Debug: Init Calibration Status = 0x1ffe\n" if not studio else ""

    def _sensor_stop(self) -> str:
        if not self.running:
            if self.kind == "studio-cli":
                raise _CommandError(-54)
            return "Ignored: Sensor is already stopped\n"
        self.running, self.streaming = False, None
        return ""


class _CommandError(Exception):
    def __init__(self, code: int, text: str = "") -> None:
        self.code, self.text = code, text


def _number(word: str) -> float:
    """As C's atof reads it: 0 where it is no number."""
    try:
        return float(word)
    except ValueError:
        return 0.0


def _next_power(count: int) -> int:
    return 1 << (count - 1).bit_length()
