"""What the radar's command line answers: one line's reply, and which firmware it comes from. No serial port here.

Source: TI mmWave SDK 3.x `ti/utils/cli/src/cli.c`, TI Radar Toolbox `studio_cli/src/mss/mmw_cli.c`, and logs of real boards.
The firmware echoes a line, prints what it has to say, ends with one of the words below and prints its prompt.

    Done                                             the command was carried out
    Ignored: <why>                                   it was not, and need not be (with or without Done after it)
    Skipped                                          it was a comment
    Error <n>                                        it failed, with lines beginning "Error:" before it
    '<x>' is not recognized as a CLI command         there is no such command on this firmware
"""

import re
from dataclasses import dataclass
from typing import Literal

from pipeline.cfg_text import DETECTION_COMMANDS
from pipeline.constraints import Firmware as FirmwareKind

PROMPT = re.compile(rb"[A-Za-z][A-Za-z0-9_]{1,30}:/>")
_ENDS = re.compile(r"^(Done|Skipped|Ignored: .*|Error -?\d+|'.*' is not recognized as a CLI command)$")
ALREADY_STOPPED_ERROR = -54  # how TI's "mmWave Studio CLI" image says what the demo calls "Ignored"
_UNKNOWN_COMMAND_ERROR = -50  # and "not recognized"

_PROMPT_MARK = "<prompt>"
Outcome = Literal["done", "ignored", "skipped", "error", "unknown command", "nothing"]
_OTHER_ENDS: tuple[tuple[Outcome, str], ...] = (("ignored", "Ignored"), ("skipped", "Skipped"), ("done", "Done"))


@dataclass(frozen=True)
class Reply:
    """The answer to one line: how it ended, the device's words without echo and prompt, and the number of an error."""

    outcome: Outcome
    words: str
    error: int | None = None
    echoed: bool = True


def ended(received: bytes, line: str, *, echoes: bool) -> bool:
    """Whether `received`, all bytes since `line` was sent, holds a whole reply: its last words, then the prompt.

    A device that `echoes` has not begun to answer before its echo; what came until then belongs to an earlier line.
    """
    lines, echoed = _after_echo(received, line)
    last = next((index for index, text in enumerate(lines) if _ENDS.match(text)), None)
    return last is not None and _PROMPT_MARK in lines[last:] and (echoed or not echoes)


def parse_reply(received: bytes, line: str) -> Reply:
    """What the radar said to `line`; noise around it is kept in the words but does not change the outcome."""
    lines, echoed = _after_echo(received, line)
    lines = [text for text in lines if text != _PROMPT_MARK]
    words = "; ".join(text for text in lines if text not in ("Done", "Skipped"))
    ends = [text for text in lines if _ENDS.match(text)]
    errors = [int(text.split()[1]) for text in ends if text.startswith("Error ")]
    if any(text.startswith("'") for text in ends) or _UNKNOWN_COMMAND_ERROR in errors:
        return Reply("unknown command", words, errors[-1] if errors else None, echoed)
    if errors:
        return Reply("error", words, errors[-1], echoed)
    for outcome, start in _OTHER_ENDS:
        if any(text.startswith(start) for text in ends):
            return Reply(outcome, words, None, echoed)
    return Reply("nothing", words, None, echoed)


def _after_echo(received: bytes, line: str) -> tuple[list[str], bool]:
    """The lines after the echo of `line` (which may have noise before it), or all where there is none; whether it was."""
    marked = PROMPT.sub(b"\n" + _PROMPT_MARK.encode() + b"\n", received)
    lines = [text for part in re.split(rb"[\r\n]+", marked) if (text := _printable(part))]
    for index, text in enumerate(lines):
        if line and text.endswith(line):
            return lines[index + 1 :], True
    return lines, False


def _printable(part: bytes) -> str:
    return part.decode("ascii", "backslashreplace").replace("\0", "").strip()


@dataclass(frozen=True)
class Firmware:
    """What runs on the radar. `commands` are those it says it knows; empty where it would not tell."""

    kind: FirmwareKind
    sdk_version: str
    platform: str
    baud: int
    commands: frozenset[str] = frozenset()

    def __str__(self) -> str:
        name = {"mmwDemo": "mmWave demo", "studio-cli": "mmWave Studio CLI", "unknown": "unknown firmware"}[self.kind]
        return f"{name}, {self.platform or 'unknown platform'}, SDK {self.sdk_version or 'unknown'}, {self.baud} baud"

    def knows(self, command: str) -> bool:
        """Whether the firmware has `command`, as far as can be told."""
        if self.commands:
            return command in self.commands
        return self.kind != "studio-cli" or command not in DETECTION_COMMANDS


def recognise(version_words: str, help_words: str, probe: Reply, baud: int) -> Firmware:
    """Which firmware answered `version` and `help` so, and what it said to a bare `cfarCfg`, which only the demo knows.

    Banner, prompt and version text are the same on both of TI's images, so only their commands tell them apart.
    """
    found = dict(re.findall(r"(Platform|mmWave SDK Version)\s*: *([^;]+?) *(?:;|$)", version_words))
    listed = frozenset(re.findall(r"(?:^|; )([A-Za-z]\w+): ", help_words))
    commands = listed if "profileCfg" in listed else frozenset()
    kind: FirmwareKind = "unknown"
    if "studio" in version_words.lower() or (commands and "cfarCfg" not in commands):
        kind = "studio-cli"
    elif "cfarCfg" in commands:
        kind = "mmwDemo"
    elif probe.outcome == "unknown command":
        kind = "studio-cli" if found else "unknown"
    elif probe.outcome in ("error", "ignored"):
        kind = "mmwDemo"
    return Firmware(kind, found.get("mmWave SDK Version", ""), found.get("Platform", ""), baud, commands)


@dataclass(frozen=True)
class ConfigLines:
    """A configuration as one firmware takes it: (line number in the text, line) of what is sent, and of what is not."""

    sent: tuple[tuple[int, str], ...]
    left_out: tuple[tuple[int, str], ...]
    start: str = "sensorStart"

    @property
    def text(self) -> str:
        """What the radar was sent, the start included."""
        return "\n".join((*(line for _, line in self.sent), self.start)) + "\n"


def lines_for(firmware: Firmware, text: str) -> ConfigLines:
    """The commands of a `.cfg` text for `firmware`: comments, blank lines and start/stop lines taken out, and in
    `left_out` the lines with commands this firmware does not have (the demo's on-chip detection on TI's Studio CLI image).
    """
    sent: list[tuple[int, str]] = []
    left_out: list[tuple[int, str]] = []
    start = "sensorStart"
    for number, raw in enumerate(text.removeprefix("\ufeff").splitlines(), start=1):
        line = " ".join(raw.split("%", 1)[0].split("#", 1)[0].split())
        command = line.split(" ", 1)[0]
        if command == "sensorStart":
            start = line
        elif line and command != "sensorStop":
            keep = firmware.knows(command) or command not in DETECTION_COMMANDS
            (sent if keep else left_out).append((number, line))
    return ConfigLines(tuple(sent), tuple(left_out), start)
