"""The configuration files an import is given or finds beside its data: which tool wrote each, and what they say together."""

from dataclasses import dataclass
from pathlib import Path

from pipeline.card_config import CardConfig, read_card_json
from pipeline.cfg_text import RadarConfig, read_cfg
from pipeline.errors import PipelineError
from pipeline.sample_order import Layout
from pipeline.studio_json import StudioSetup, load_json, read_mmwave_json, read_setup_json

_REORDERED: dict[Layout, Layout] = {"i-first": "interleaved", "q-first": "interleaved-q-first"}


@dataclass(frozen=True)
class ImportConfig:
    """What is known of a recording from its files; `radar` is None where none of them configures a radar."""

    radar: RadarConfig | None = None
    setup: StudioSetup | None = None
    card: CardConfig | None = None
    files: tuple[Path, ...] = ()

    @property
    def layout(self) -> Layout | None:
        """The sample layout these files announce: the firmware's, and what the card's recorder was told to make of it."""
        if self.radar is None:
            return None
        order = self.radar.waveform.sample_order
        return _REORDERED.get(order, order) if self.card and self.card.reordered else order


def read_import_config(paths: list[Path]) -> ImportConfig:
    """Read each file for what its content says it is: a radar `.cfg`, mmWave Studio's JSON files, the card's JSON.

    Raises PipelineError for another tool's JSON, two files of one kind, and a card that did not stream two-lane 16-bit samples.
    """
    radars: list[tuple[Path, RadarConfig]] = []
    setups: list[tuple[Path, StudioSetup]] = []
    cards: list[tuple[Path, CardConfig]] = []
    for path in paths:
        if not path.is_file():
            raise PipelineError(f"{path} is not there; name the .cfg or JSON file the recording was made with.")
        kind = _kind(path)
        if kind == "cfg":
            radars.append((path, read_cfg(path)))
        elif kind == "radar":
            radars.append((path, read_mmwave_json(path)))
        elif kind == "setup":
            setups.append((path, read_setup_json(path)))
        else:
            cards.append((path, read_card_json(path)))
    for what, found in (("radar configuration", radars), ("capture set-up", setups), ("card configuration", cards)):
        if len(found) > 1:
            names = ", ".join(str(path.name) for path, _ in found)
            raise PipelineError(f"There is more than one {what} ({names}); name the right one with --config.")
    card = cards[0][1] if cards else None
    if card and (card.lvds_lanes != 2 or card.sample_bits != 16):
        raise PipelineError(
            f"{cards[0][0].name}: {card.sample_bits}-bit samples on {card.lvds_lanes} LVDS lanes are not supported; only 16 bits "
            "on two lanes, as xWR16xx, xWR18xx and xWR68xx parts stream."
        )
    return ImportConfig(radars[0][1] if radars else None, setups[0][1] if setups else None, card, tuple(paths))


def find_configs(folder: Path) -> list[Path]:
    """Configuration files that recording tools leave beside their data, sorted; files of other kinds are passed over."""
    found = []
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() == ".cfg" and path.is_file():
            found.append(path)
        elif path.suffix.lower() == ".json" and path.is_file():
            try:
                _kind(path)
            except PipelineError:
                continue
            found.append(path)
    return found


def _kind(path: Path) -> str:
    """`cfg`, `radar`, `setup` or `card`; PipelineError for JSON of another tool."""
    try:
        with path.open("rb") as file:
            begin = file.read(64).lstrip(b"\xef\xbb\xbf \t\r\n")
    except OSError as error:
        raise PipelineError(f"{path} cannot be read: {error.strerror}.") from error
    if not begin.startswith((b"{", b"[")) and path.suffix.lower() != ".json":
        return "cfg"
    content = load_json(path)
    if "mmWaveDevices" in content:
        return "radar"
    if "captureHardware" in content or "mmWaveDeviceConfig" in content:
        return "setup"
    if "DCA1000Config" in content:
        return "card"
    keys = ", ".join(list(content)[:4]) or "no keys"
    raise PipelineError(
        f"{path.name} is JSON of another tool (it has {keys}); name mmWave Studio's *.mmwave.json or *.setup.json, the card's "
        "JSON with `DCA1000Config`, or a .cfg."
    )
