"""TI's `.cfg` text: read into a Waveform with the line each value came from, and written back as the device accepts it.

Source: TI mmWave SDK 3.x user's guide, "Configuration (.cfg) file format"; argument counts from the SDK's `cli.c`.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from pipeline.errors import PipelineError
from pipeline.waveform import Waveform

# Every command of the xWR18xx/xWR68xx demo firmware and TI's "mmWave Studio CLI" image -> how many arguments it may take.
ARGUMENT_COUNTS: dict[str, tuple[int, ...]] = {
    "sensorStop": (0,),
    "flushCfg": (0,),
    "sensorStart": (0, 1),
    "version": (0,),
    "queryDemoStatus": (0,),
    "dfeDataOutputMode": (1,),
    "channelCfg": (3,),
    "adcCfg": (2,),
    "adcbufCfg": (5,),
    "profileCfg": (14,),
    "chirpCfg": (8,),
    "frameCfg": (7,),
    "advFrameCfg": (5,),
    "subFrameCfg": (10,),
    "lowPower": (2,),
    "lvdsStreamCfg": (4,),
    "bpmCfg": (4,),
    "guiMonitor": (7,),
    "cfarCfg": (9,),
    "multiObjBeamForming": (3,),
    "clutterRemoval": (2,),
    "calibDcRangeSig": (5,),
    "extendedMaxVelocity": (2,),
    "compRangeBiasAndRxChanPhase": (25,),
    "measureRangeBiasAndRxChanPhase": (3,),
    "CQRxSatMonitor": (5,),
    "CQSigImgMonitor": (3,),
    "analogMonitor": (2,),
    "aoaFovCfg": (5,),
    "cfarFovCfg": (4,),
    "calibData": (3,),
    "configDataPort": (2,),
    "setHSI": (1,),
    "contModeCfg": (8, 9, 10, 11),
}
# Commands that only configure the demo's on-chip detection: TI's "mmWave Studio CLI" image refuses them.
DETECTION_COMMANDS = frozenset(
    {
        "guiMonitor",
        "cfarCfg",
        "multiObjBeamForming",
        "clutterRemoval",
        "calibDcRangeSig",
        "extendedMaxVelocity",
        "bpmCfg",
        "compRangeBiasAndRxChanPhase",
        "measureRangeBiasAndRxChanPhase",
        "CQRxSatMonitor",
        "CQSigImgMonitor",
        "analogMonitor",
        "aoaFovCfg",
        "cfarFovCfg",
        "calibData",
        "configDataPort",
    }
)
REQUIRED = ("channelCfg", "adcCfg", "adcbufCfg", "profileCfg", "chirpCfg", "frameCfg")
TX_OF_MASK = {1: 1, 2: 2, 4: 3}


@dataclass(frozen=True)
class CfgLine:
    """One command of a `.cfg`: its line number from 1, its name and its arguments."""

    number: int
    command: str
    arguments: tuple[float, ...]


@dataclass(frozen=True)
class RadarConfig:
    """A parsed radar configuration.

    `text` is what is sent to the radar ("" where the source was JSON); `where` maps a command (or JSON key) to the place
    it was read from, for messages; `notes` are sentences about what was tolerated; `adc_streamed` is False when the file
    itself switches raw data off.
    """

    waveform: Waveform
    text: str
    where: dict[str, str]
    notes: tuple[str, ...] = ()
    adc_streamed: bool = True


def read_cfg(path: Path) -> RadarConfig:
    """`parse_cfg` of a file; PipelineError when it cannot be read as text."""
    try:
        text = path.read_bytes().decode("utf-8")
    except OSError as error:
        raise PipelineError(f"{path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise PipelineError(
            f"{path} is not a text file (byte {error.start}); a .cfg holds one CLI command a line."
        ) from None
    return parse_cfg(text, path.name)


def parse_cfg(text: str, name: str) -> RadarConfig:
    """Read `.cfg` text; `name` is the file's, for messages.

    A byte-order mark and CRLF line ends are taken off and said in `notes`. Raises PipelineError for an unknown command, a
    missing line, a wrong number of arguments, a value that is no number or out of range - each with its line.
    """
    notes: list[str] = []
    if text.startswith("\ufeff"):
        text = text[1:]
        notes.append(f"{name} starts with a byte-order mark; it was taken off.")
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
        notes.append(f"{name} has Windows line ends (CRLF); they were changed to LF before sending.")
    lines = _command_lines(text, name)
    by_command: dict[str, list[CfgLine]] = {}
    for line in lines:
        by_command.setdefault(line.command, []).append(line)
    for command in REQUIRED:
        if command not in by_command:
            raise PipelineError(
                f"{name} has no {command} line; add one (presets: `maepose config --cfg paper` prints a whole file)."
            )
    waveform = _waveform(by_command, name)
    where = {command: f"{name} line {found[-1].number}" for command, found in by_command.items()}
    streamed = by_command.get("lvdsStreamCfg")
    adc_streamed = streamed is None or streamed[-1].arguments[2] == 1
    return RadarConfig(waveform, text if text.endswith("\n") else text + "\n", where, tuple(notes), adc_streamed)


def _command_lines(text: str, name: str) -> list[CfgLine]:
    lines = []
    for number, raw in enumerate(text.split("\n"), start=1):
        words = raw.split("%", 1)[0].split("#", 1)[0].split()
        if not words:
            continue
        command, *rest = words
        if command not in ARGUMENT_COUNTS:
            if not command.isascii() or not command.isprintable():
                raise PipelineError(f"{name} line {number} is not text a radar understands: {raw.strip()[:40]!r}.")
            known = next((known for known in ARGUMENT_COUNTS if known.lower() == command.lower()), None)
            hint = f"did you mean {known}" if known else "remove the line or correct its spelling"
            raise PipelineError(f"{name} line {number}: {command!r} is not a command of the radar's CLI; {hint}.")
        allowed = ARGUMENT_COUNTS[command]
        if len(rest) not in allowed:
            raise PipelineError(
                f"{name} line {number}: {command} takes {' or '.join(map(str, allowed))} values, not {len(rest)}."
            )
        try:
            arguments = tuple(float(word) for word in rest)
        except ValueError:
            bad = next(word for word in rest if not _is_number(word))
            raise PipelineError(f"{name} line {number}: {command} value {bad!r} is not a number.") from None
        lines.append(CfgLine(number, command, arguments))
    if not lines:
        raise PipelineError(
            f"{name} holds no command; a radar configuration has channelCfg, profileCfg, chirpCfg and frameCfg lines."
        )
    return lines


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _waveform(by_command: dict[str, list[CfgLine]], name: str) -> Waveform:
    def fail(line: CfgLine, what: str) -> PipelineError:
        return PipelineError(f"{name} line {line.number}: {line.command} {what}.")

    def whole(line: CfgLine, index: int, low: int, high: int, meaning: str) -> int:
        value = line.arguments[index]
        if value != value or value != int(value) or not low <= value <= high:
            raise fail(line, f"{meaning} {value:g} must be a whole number from {low} to {high}")
        return int(value)

    def real(line: CfgLine, index: int, low: float, high: float, meaning: str) -> float:
        value = line.arguments[index]
        if not low <= value <= high:
            raise fail(line, f"{meaning} {value:g} must lie between {low:g} and {high:g}")
        return value

    mode = by_command.get("dfeDataOutputMode")
    if mode and mode[-1].arguments[0] != 1:
        raise fail(mode[-1], f"mode {mode[-1].arguments[0]:g} is not frame mode; only legacy frames (1) are supported")
    channel, adc, buffer, frame = (by_command[key][-1] for key in ("channelCfg", "adcCfg", "adcbufCfg", "frameCfg"))
    rx_mask = whole(channel, 0, 1, 15, "receiver mask")
    tx_mask = whole(channel, 1, 1, 7, "transmitter mask")
    if (whole(adc, 0, 0, 2, "ADC bits code"), whole(adc, 1, 0, 2, "ADC output format")) not in ((2, 1), (2, 2)):
        raise fail(adc, "must be `2 1`: 16 bit, complex samples")
    if whole(buffer, 1, 0, 1, "ADC buffer format") != 0:
        raise fail(buffer, "asks for real samples; set its second value to 0 (complex)")
    sample_swap = whole(buffer, 2, 0, 1, "sample swap")
    if whole(buffer, 3, 0, 1, "channel interleave") != 1:
        raise fail(
            buffer, "asks for interleaved channels, which xWR18xx/68xx parts do not stream; set its fourth value to 1"
        )
    chirp_start = whole(frame, 0, 0, 511, "first chirp")
    chirp_stop = whole(frame, 1, chirp_start, 511, "last chirp")
    order, profile_id = _tx_order(by_command["chirpCfg"], chirp_start, chirp_stop, tx_mask, frame, name, fail, whole)
    profiles = [line for line in by_command["profileCfg"] if line.arguments[0] == profile_id]
    if not profiles:
        raise fail(by_command["chirpCfg"][0], f"uses profile {profile_id}, which no profileCfg line defines")
    profile = profiles[-1]
    try:
        return Waveform(
            name=name,
            start_frequency_ghz=real(profile, 1, 57, 81, "start frequency (GHz)"),
            idle_time_us=real(profile, 2, 0, 5242.87, "idle time (us)"),
            adc_start_time_us=real(profile, 3, 0, 40.95, "ADC start time (us)"),
            ramp_end_time_us=real(profile, 4, 0.01, 5242.87, "ramp end time (us)"),
            tx_backoff=whole(profile, 5, 0, 2**24, "transmit power back-off"),
            tx_phase_shifter=whole(profile, 6, 0, 2**24, "transmit phase shifter"),
            slope_mhz_per_us=real(profile, 7, 0.05, 100, "slope (MHz/us)"),
            tx_start_time_us=real(profile, 8, -40.96, 40.95, "transmit start time (us)"),
            samples=whole(profile, 9, 2, 8192, "samples per chirp"),
            sample_rate_ksps=whole(profile, 10, 1, 37500, "sample rate (ksps)"),
            hpf_corner_1=whole(profile, 11, 0, 3, "first high-pass corner"),
            hpf_corner_2=whole(profile, 12, 0, 3, "second high-pass corner"),
            rx_gain_db=whole(profile, 13, 0, 255, "receiver gain (dB)"),
            tx_order=order,
            rx_channels=tuple(rx + 1 for rx in range(4) if rx_mask >> rx & 1),
            loops=whole(frame, 2, 1, 255, "number of loops"),
            frames=whole(frame, 3, 0, 65535, "number of frames"),
            period_ms=real(frame, 4, 0.1, 1342, "frame period (ms)"),
            trigger="software" if whole(frame, 5, 1, 2, "trigger") == 1 else "hardware",
            trigger_delay_ms=real(frame, 6, 0, 1000, "trigger delay (ms)"),
            sample_order="q-first" if sample_swap else "i-first",
        )
    except ValidationError as error:
        raise PipelineError(f"{name}: {error.errors()[0]['msg']}.") from None


def _tx_order(chirps, chirp_start, chirp_stop, tx_mask, frame, name, fail, whole) -> tuple[tuple[int, ...], int]:
    """Transmitter of each chirp of a loop and the profile they share, from the chirpCfg lines."""
    order, profile_ids = [], []
    for index in range(chirp_start, chirp_stop + 1):
        line = next((c for c in reversed(chirps) if c.arguments[0] <= index <= c.arguments[1]), None)
        if line is None:
            raise fail(frame, f"uses chirp {index}, which no chirpCfg line defines")
        profile_ids.append(whole(line, 2, 0, 3, "profile number"))
        if any(line.arguments[3:7]):
            raise fail(
                line, "varies frequency, slope or times from chirp to chirp, which is not supported; set them to 0"
            )
        mask = whole(line, 7, 0, 7, "transmitter mask")
        if mask not in TX_OF_MASK:
            raise fail(
                line, f"fires transmitter mask {mask}; one transmitter a chirp (1, 2 or 4) is needed to tell them apart"
            )
        if not mask & tx_mask:
            raise fail(line, f"fires a transmitter that channelCfg (mask {tx_mask}) leaves off")
        if TX_OF_MASK[mask] in order:
            raise fail(
                line, f"fires TX{TX_OF_MASK[mask]} twice in one loop; list each transmitter once and raise the loops"
            )
        order.append(TX_OF_MASK[mask])
    if len(set(profile_ids)) > 1:
        raise fail(frame, "mixes chirps of several profiles in one frame, which is not supported")
    return tuple(order), profile_ids[0]


def write_cfg(waveform: Waveform, *, detection: bool = True) -> str:
    """The `.cfg` text that sets a radar to `waveform`; `parse_cfg` reads it back to the same values.

    `detection` adds the lines that the stock demo firmware wants for its on-chip processing (all output switched off) and
    TI's "mmWave Studio CLI" image refuses. Raises PipelineError for the interleaved layout, which no firmware streams.
    """
    if waveform.sample_order == "interleaved":
        raise PipelineError(
            "No firmware streams interleaved samples; use sample order q-first or i-first to write a .cfg."
        )
    w, last = waveform, waveform.tx_slots - 1
    rx_mask = sum(1 << rx - 1 for rx in w.rx_channels)
    tx_mask = sum(1 << tx - 1 for tx in w.tx_order)
    trigger = 1 if w.trigger == "software" else 2
    lines = [
        f"% {w.name}",
        "sensorStop",
        "flushCfg",
        "dfeDataOutputMode 1",
        f"channelCfg {rx_mask} {tx_mask} 0",
        "adcCfg 2 1",
        f"adcbufCfg -1 0 {int(w.sample_order == 'q-first')} 1 1",
        f"profileCfg 0 {_plain(w.start_frequency_ghz)} {_plain(w.idle_time_us)} {_plain(w.adc_start_time_us)} "
        f"{_plain(w.ramp_end_time_us)} {w.tx_backoff} {w.tx_phase_shifter} {_plain(w.slope_mhz_per_us)} "
        f"{_plain(w.tx_start_time_us)} {w.samples} {w.sample_rate_ksps} {w.hpf_corner_1} {w.hpf_corner_2} {w.rx_gain_db}",
        *(f"chirpCfg {i} {i} 0 0 0 0 0 {1 << tx - 1}" for i, tx in enumerate(w.tx_order)),
        f"frameCfg 0 {last} {w.loops} {w.frames} {_plain(w.period_ms)} {trigger} {_plain(w.trigger_delay_ms)}",
        "lowPower 0 0",
    ]
    if detection:
        lines += _quiet_detection_lines(w)
    lines += ["lvdsStreamCfg -1 0 1 0", "sensorStart"]
    return "\n".join(lines) + "\n"


def with_hardware_trigger(config: RadarConfig, period_ms: float) -> RadarConfig:
    """The same configuration with frames of at most `period_ms` that wait for pulses on SYNC_IN: its frameCfg line changed.

    A configuration that waits for pulses already is left as it is.
    """
    if config.waveform.trigger == "hardware":
        return config
    lines = config.text.splitlines()
    for index, line in enumerate(lines):
        words = line.split("%", 1)[0].split("#", 1)[0].split()
        if words[:1] == ["frameCfg"]:
            lines[index] = " ".join([*words[:5], _plain(period_ms), "2", *words[7:]])
    changed = parse_cfg("\n".join(lines), config.waveform.name)
    return replace(config, waveform=changed.waveform, text=changed.text)


def _plain(value: float) -> str:
    """Every digit of `value`, without an exponent or a trailing `.0`: the device's parser knows no `1e-3`."""
    return np.format_float_positional(value, trim="-")


def _quiet_detection_lines(w: Waveform) -> list[str]:
    """The lines mmwDemo insists on before it starts, with nothing sent to its own data port."""
    phases = " ".join(["1 0"] * 12)
    return [
        "guiMonitor -1 0 0 0 0 0 0",
        "cfarCfg -1 0 2 8 4 3 0 15 1",
        "cfarCfg -1 1 0 4 2 3 1 15 1",
        "multiObjBeamForming -1 0 0.5",
        "clutterRemoval -1 0",
        "calibDcRangeSig -1 0 -5 8 256",
        "extendedMaxVelocity -1 0",
        f"compRangeBiasAndRxChanPhase 0.0 {phases}",
        "measureRangeBiasAndRxChanPhase 0 1.5 0.2",
        "CQRxSatMonitor 0 3 5 121 0",
        "CQSigImgMonitor 0 127 4",
        "analogMonitor 0 0",
        "aoaFovCfg -1 -90 90 -90 90",
        f"cfarFovCfg -1 0 0 {w.range_max_m:.2f}",
        f"cfarFovCfg -1 1 {-w.velocity_max_mps:.2f} {w.velocity_max_mps:.2f}",
        "calibData 0 0 0",
    ]
