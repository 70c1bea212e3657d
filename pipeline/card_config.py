"""The DCA1000EVM's JSON (`cf.json` of TI's command-line tool): how the card is set and where it answers.

Source: TI DCA1000EVM CLI software developer guide, "JSON configuration".
"""

from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline.errors import PipelineError
from pipeline.studio_json import load_json

# Payload rate the card reaches at a packet delay (hardware.md section 1, measured by TI), Mbit/s.
THROUGHPUT_MBPS = {5: 706.0, 10: 545.0, 25: 325.0, 50: 193.0}


class CardConfig(BaseModel):
    """How the card is set. Defaults are the card's factory addresses and two-lane 16-bit raw Ethernet capture."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    card_ip: str = "192.168.33.180"
    config_port: int = Field(4096, ge=0, le=65535)
    data_port: int = Field(4098, ge=0, le=65535)
    lvds_lanes: Literal[2, 4] = 2
    sample_bits: Literal[12, 14, 16] = 16
    packet_delay_us: int = Field(25, ge=5, le=500)
    reordered: bool = Field(False, description="the tool's recorder rewrote the file as I0 Q0 I1 Q1")


def read_card_json(path: Path) -> CardConfig:
    """The `DCA1000Config` object of a JSON file; what it leaves out has the card's default.

    Raises PipelineError for another tool's JSON, a mode that is not raw Ethernet capture from LVDS, or a value out of range.
    """
    content, name = load_json(path), path.name
    card = content.get("DCA1000Config")
    if not isinstance(card, dict):
        found = ", ".join(list(content)[:4]) or "nothing"
        raise PipelineError(
            f"{name} is not a DCA1000 configuration: it has {found}, not `DCA1000Config`; name the card's JSON."
        )
    for key, wanted in (
        ("dataLoggingMode", "raw"),
        ("dataTransferMode", "LVDSCapture"),
        ("dataCaptureMode", "ethernetStream"),
    ):
        if card.get(key, wanted) != wanted:
            raise PipelineError(f"{name}: {key} is {card[key]!r}; only {wanted!r} is supported.")
    ethernet = card.get("ethernetConfig", {})
    values: dict[str, Any] = {
        "card_ip": ethernet.get("DCA1000IPAddress"),
        "config_port": ethernet.get("DCA1000ConfigPort"),
        "data_port": ethernet.get("DCA1000DataPort"),
        "lvds_lanes": {1: 4, 2: 2}.get(card["lvdsMode"], card["lvdsMode"]) if "lvdsMode" in card else None,
        "sample_bits": {1: 12, 2: 14, 3: 16}.get(card["dataFormatMode"]) if "dataFormatMode" in card else None,
        "packet_delay_us": card.get("packetDelay_us"),
        "reordered": bool(card.get("dataFormatConfig", {}).get("reorderEnable", 0)),
    }
    try:
        return CardConfig(**{key: value for key, value in values.items() if value is not None})
    except ValidationError as error:
        first = error.errors()[0]
        raise PipelineError(f"{name}: {'.'.join(map(str, first['loc']))} {first['input']!r}: {first['msg']}.") from None


def throughput_mbps(packet_delay_us: float) -> float:
    """Payload rate the card reaches at a packet delay, Mbit/s, between the measured points by packet time."""
    points = sorted(THROUGHPUT_MBPS)
    if packet_delay_us <= points[0]:
        return THROUGHPUT_MBPS[points[0]]
    for low, high in pairwise(points):
        if packet_delay_us <= high:
            share = (packet_delay_us - low) / (high - low)
            return 1 / ((1 - share) / THROUGHPUT_MBPS[low] + share / THROUGHPUT_MBPS[high])
    # Beyond the table a packet of 1456 bytes takes what it took at 50 us, plus the longer delay.
    return 1456 * 8 / (1456 * 8 / THROUGHPUT_MBPS[points[-1]] + packet_delay_us - points[-1])
