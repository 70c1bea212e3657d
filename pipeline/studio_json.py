"""mmWave Studio's JSON files: `*.mmwave.json` (radar) and `*.setup.json` (capture set-up, card).

Source: the files mmWave Studio 2.1 writes; field names are those of mmwavelink's `rl_sensor.h`.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pipeline.cfg_text import TX_OF_MASK, RadarConfig
from pipeline.errors import PipelineError
from pipeline.waveform import Waveform


@dataclass(frozen=True)
class StudioSetup:
    """What a `*.setup.json` says: the device, the recorded files, and the bytes its own recorder zero-filled."""

    device: str
    packet_delay_us: int | None
    raw_files: tuple[str, ...]
    processed_files: tuple[str, ...]
    zero_filled_bytes: int


def load_json(path: Path) -> dict[str, Any]:
    """A JSON file's object; PipelineError when it cannot be read or is none."""
    try:
        value = json.loads(path.read_bytes().decode("utf-8-sig"))
    except OSError as error:
        raise PipelineError(f"{path} cannot be read: {error.strerror}.") from error
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        place = f"line {error.lineno}" if isinstance(error, json.JSONDecodeError) else f"byte {error.start}"
        raise PipelineError(
            f"{path.name} is not JSON ({place}); export it again from the tool that wrote it."
        ) from None
    if not isinstance(value, dict):
        raise PipelineError(f"{path.name} is JSON, but no object; mmWave Studio writes one with `mmWaveDevices`.")
    return value


def read_mmwave_json(path: Path) -> RadarConfig:
    """The waveform of a `*.mmwave.json`; values are as mmWave Studio set them on the device.

    Raises PipelineError for another tool's JSON, a missing key, more than one device, or a frame that is not plain TDM.
    """
    content, name = load_json(path), path.name
    if "mmWaveDevices" not in content:
        found = ", ".join(list(content)[:4]) or "nothing"
        raise PipelineError(
            f"{name} is not mmWave Studio's radar configuration: it has {found}, not `mmWaveDevices`; name the *.mmwave.json."
        )
    try:
        devices = content["mmWaveDevices"]
        if len(devices) != 1:
            raise PipelineError(f"{name} configures {len(devices)} devices; one is supported.")
        rf, raw = devices[0]["rfConfig"], devices[0]["rawDataCaptureConfig"]
        if rf["waveformType"] not in ("legacyFrameChirp", "singleFrame"):
            raise PipelineError(f"{name}: waveformType {rf['waveformType']!r} is not supported, only legacyFrameChirp.")
        frame = rf["rlFrameCfg_t"]
        channels = rf["rlChanCfg_t"]
        rx_mask, tx_mask = _code(channels["rxChannelEn"]), _code(channels["txChannelEn"])
        order, profile_id = _tx_order(rf["rlChirps"], frame, tx_mask, name)
        profiles = [p["rlProfileCfg_t"] for p in rf["rlProfiles"]]
        profile = next((p for p in profiles if p["profileId"] == profile_id), None)
        if profile is None:
            raise PipelineError(f"{name}: the chirps use profile {profile_id}, which rlProfiles does not define.")
        if _code(raw["rlDevDataFmtCfg_t"]["chInterleave"]) != 1:
            raise PipelineError(f"{name}: chInterleave must be 1 (non-interleaved), the layout of two-lane LVDS.")
        waveform = Waveform(
            name=name,
            start_frequency_ghz=profile["startFreqConst_GHz"],
            idle_time_us=profile["idleTimeConst_usec"],
            adc_start_time_us=profile["adcStartTimeConst_usec"],
            ramp_end_time_us=profile["rampEndTime_usec"],
            slope_mhz_per_us=profile["freqSlopeConst_MHz_usec"],
            tx_start_time_us=profile["txStartTime_usec"],
            samples=profile["numAdcSamples"],
            sample_rate_ksps=profile["digOutSampleRate"],
            rx_gain_db=_code(profile["rxGain_dB"]),
            hpf_corner_1=_code(profile["hpfCornerFreq1"]),
            hpf_corner_2=_code(profile["hpfCornerFreq2"]),
            tx_backoff=_code(profile["txOutPowerBackoffCode"]),
            tx_phase_shifter=_code(profile["txPhaseShifter"]),
            tx_order=order,
            rx_channels=tuple(rx + 1 for rx in range(4) if rx_mask >> rx & 1),
            loops=frame["numLoops"],
            frames=frame["numFrames"],
            period_ms=frame["framePeriodicity_msec"],
            trigger="software" if frame["triggerSelect"] == 1 else "hardware",
            trigger_delay_ms=frame["frameTriggerDelay"],
            sample_order="q-first" if _code(raw["rlDevDataFmtCfg_t"]["iqSwapSel"]) else "i-first",
        )
    except KeyError as error:
        raise PipelineError(
            f"{name} has no {error.args[0]}; it is not a whole mmWave Studio configuration, export it again."
        ) from None
    except ValidationError as error:
        first = error.errors()[0]
        raise PipelineError(f"{name}: {'.'.join(map(str, first['loc']))}: {first['msg']}.") from None
    except (TypeError, ValueError, IndexError) as error:
        raise PipelineError(
            f"{name} does not have the structure mmWave Studio writes ({error}); export it again."
        ) from None
    where = {"profileCfg": f"{name} rlProfileCfg_t", "chirpCfg": f"{name} rlChirps", "frameCfg": f"{name} rlFrameCfg_t"}
    return RadarConfig(waveform, "", where)


def read_setup_json(path: Path) -> StudioSetup:
    """A `*.setup.json`; PipelineError for another tool's JSON."""
    content, name = load_json(path), path.name
    if "captureHardware" not in content and "mmWaveDeviceConfig" not in content:
        raise PipelineError(
            f"{name} is not mmWave Studio's capture set-up: it has no `captureHardware`; name the *.setup.json."
        )
    try:
        files = content.get("capturedFiles", {}).get("files", [])
        return StudioSetup(
            device=str(content.get("mmWaveDevice", "")),
            packet_delay_us=content.get("DCA1000Config", {}).get("packetDelay_us"),
            raw_files=tuple(file["rawFileName"] for file in files if "rawFileName" in file),
            processed_files=tuple(file["processedFileName"] for file in files if "processedFileName" in file),
            zero_filled_bytes=sum(int(f.get("processedFileSummary", {}).get("numZeroFillBytes", 0)) for f in files),
        )
    except (AttributeError, TypeError, ValueError) as error:
        raise PipelineError(
            f"{name} does not have the structure mmWave Studio writes ({error}); export it again."
        ) from None


def _code(value: int | str) -> int:
    """A register code written as a number or as "0x1E"."""
    return int(value, 0) if isinstance(value, str) else int(value)


def _tx_order(chirps: list[Any], frame: dict[str, Any], tx_mask: int, name: str) -> tuple[tuple[int, ...], int]:
    order: list[int] = []
    profile_ids: set[int] = set()
    found = [chirp["rlChirpCfg_t"] for chirp in chirps]
    for index in range(frame["chirpStartIdx"], frame["chirpEndIdx"] + 1):
        chirp = next((c for c in found if c["chirpStartIdx"] <= index <= c["chirpEndIdx"]), None)
        if chirp is None:
            raise PipelineError(f"{name}: rlFrameCfg_t uses chirp {index}, which rlChirps does not define.")
        mask = _code(chirp["txEnable"])
        if mask not in TX_OF_MASK or not mask & tx_mask:
            raise PipelineError(
                f"{name}: chirp {index} fires transmitter mask {mask}; one enabled transmitter (1, 2 or 4) a chirp is needed."
            )
        varied = ("startFreqVar_MHz", "freqSlopeVar_KHz_usec", "idleTimeVar_usec", "adcStartTimeVar_usec")
        if any(chirp[key] for key in varied):
            raise PipelineError(
                f"{name}: chirp {index} varies its frequency or times, which is not supported; set them to 0."
            )
        order.append(TX_OF_MASK[mask])
        profile_ids.add(chirp["profileId"])
    if len(profile_ids) != 1:
        raise PipelineError(f"{name}: the frame mixes chirps of several profiles, which is not supported.")
    return tuple(order), profile_ids.pop()
