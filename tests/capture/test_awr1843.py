"""The radar's driver against the simulated radar's firmware on a real pseudo-terminal, and against one that misbehaves."""

import os
import threading
import time
import tty
from collections.abc import Iterator

import pytest
from serial.tools.list_ports_common import ListPortInfo

from capture.awr1843 import RadarClient, find_radar_port, lines_for
from capture.awr1843_replies import Firmware, ended, parse_reply
from capture.simulator.clock import RigClock
from capture.simulator.faults import FaultPlan
from capture.simulator.radar import SimulatedRadar
from pipeline.cfg_text import write_cfg
from pipeline.errors import PipelineError
from pipeline.waveform import PRESETS, Waveform

CFG = write_cfg(PRESETS["light"])


def simulated(kind: str = "mmwDemo", **faults: object) -> SimulatedRadar:
    plan = FaultPlan.model_validate(faults)
    return SimulatedRadar(RigClock(), threading.Condition(), firmware=kind, faults=plan)  # type: ignore[arg-type]


@pytest.mark.parametrize(("kind", "baud"), [("mmwDemo", 115_200), ("studio-cli", 921_600)])
def test_firmware_and_baud_rate_are_recognised(kind, baud):
    with simulated(kind) as device, RadarClient(device.port) as radar:
        assert (radar.firmware.kind, radar.firmware.baud, radar.baud) == (kind, baud, baud)
        assert radar.firmware.platform == "xWR18xx"
        assert radar.firmware.sdk_version == "03.06.02.00"
        assert radar.firmware.knows("profileCfg")
        assert radar.firmware.knows("cfarCfg") == (kind == "mmwDemo")
        assert str(baud) in str(radar.firmware)


def test_a_wrong_baud_rate_is_said():
    with simulated("studio-cli") as device, pytest.raises(PipelineError, match="does not answer at 115200 baud"):
        RadarClient(device.port, 115_200).connect()


@pytest.mark.parametrize("kind", ["mmwDemo", "studio-cli"])
def test_a_configuration_starts_and_stops_the_radar(kind):
    with simulated(kind) as device, RadarClient(device.port) as radar:
        for _ in range(2):
            lines = radar.send_config(CFG)
            assert device.run is None or device.run.over(10**9)
            radar.start()
            assert device.run is not None
            got = device.run.waveform
            wanted = PRESETS["light"]
            assert (got.samples, got.loops, got.tx_order, got.slope_hz_per_s) == (
                *(wanted.samples, wanted.loops, wanted.tx_order),
                wanted.slope_hz_per_s,
            )
            radar.stop()
            radar.stop()  # a stopped one is fine
    left_out = {line.split()[0] for _, line in lines.left_out}
    assert ("cfarCfg" in left_out, "cfarCfg" in lines.text) == ((kind == "studio-cli"), (kind == "mmwDemo"))
    assert lines.text.endswith("sensorStart\n")
    assert "sensorStop" not in lines.text


def test_comments_blank_lines_byte_order_marks_and_crlf_are_taken():
    text = "\ufeff% made by a tool\r\n\r\n" + CFG.replace("\n", "  \r\n") + "% the end\r\n"
    with simulated() as device, RadarClient(device.port) as radar:
        radar.send_config(text)
        radar.start()
        assert device.run is not None


def test_every_kind_of_reply_is_told_apart():
    with simulated() as device, RadarClient(device.port) as radar:
        assert radar.send_line("flushCfg").outcome == "done"
        assert radar.send_line("% words").outcome == "skipped"
        stop = radar.send_line("sensorStop")
        assert (stop.outcome, stop.words) == ("ignored", "Ignored: Sensor is already stopped")
        unknown = radar.send_line("makeCoffee 1")
        assert (unknown.outcome, unknown.words) == (
            "unknown command",
            "'makeCoffee' is not recognized as a CLI command",
        )
        wrong = radar.send_line("channelCfg 15")
        assert (wrong.outcome, wrong.error) == ("error", -1)
        assert "Invalid usage" in wrong.words


def test_a_refused_line_is_quoted_with_its_number_and_the_radars_words():
    bad = CFG.replace("frameCfg 0 1 64", "frameCfg 0 1 256")
    number = next(n for n, line in enumerate(bad.splitlines(), 1) if line.startswith("frameCfg"))
    with (
        simulated() as device,
        RadarClient(device.port) as radar,
        pytest.raises(PipelineError, match=rf"refused line {number}, `frameCfg 0 1 256 .*Error -1"),
    ):
        radar.send_config(bad)
    misspelt = CFG.replace("lowPower", "lowpower")
    with (
        simulated() as device,
        RadarClient(device.port) as radar,
        pytest.raises(PipelineError, match=r"does not know line \d+, `lowpower 0 0`,: 'lowpower' is not recognized"),
    ):
        radar.send_config(misspelt)


def test_a_line_that_cannot_be_sent_is_said_before_anything_is_sent():
    with simulated() as device, RadarClient(device.port) as radar:
        with pytest.raises(PipelineError, match="Line 2 of the radar configuration cannot be sent"):
            radar.send_config("flushCfg\nchannelCfg 15 5 °\n")
        with pytest.raises(PipelineError, match="has 303 characters"):
            radar.send_config(["x" * 303])


def test_starting_needs_a_whole_configuration():
    with simulated() as device, RadarClient(device.port) as radar:
        radar.send_config("\n".join(line for line in CFG.splitlines() if not line.startswith("aoaFovCfg")))
        with pytest.raises(PipelineError, match="refused `sensorStart`: Error: You have provided incomplete config"):
            radar.start()


@pytest.mark.parametrize(("kind", "words"), [("mmwDemo", "Ignored"), ("studio-cli", "Error -54")])
def test_a_radar_that_already_runs_does_not_pass_for_started(kind, words):
    with simulated(kind) as device, RadarClient(device.port) as radar:
        radar.send_config(CFG)
        radar.start()
        with pytest.raises(PipelineError, match=f"was running already .*{words}"):
            radar.start()


def test_the_stock_demo_hangs_on_a_big_detection_matrix_and_a_reset_brings_it_back(monkeypatch):
    monkeypatch.setattr("capture.awr1843._START_TIMEOUT_S", 0.4)
    with simulated() as device, RadarClient(device.port, timeout_s=0.4) as radar:
        radar.send_config(CFG.replace("frameCfg 0 1 64", "frameCfg 0 1 65"))
        with pytest.raises(PipelineError, match=r"its firmware hangs.*256 range x 64 Doppler"):
            radar.start()
        with pytest.raises(PipelineError, match=r"did not answer `sensorStop` within 0\.4 s"):
            radar.stop()
        device.reset()
        radar.wait_ready()
        radar.send_config(CFG)
        radar.start()
        assert device.run is not None
    with simulated("studio-cli") as device, RadarClient(device.port) as radar:
        radar.send_config(write_cfg(PRESETS["paper"]))
        radar.start()  # the image without detection runs 255 loops
        assert device.run is not None
        assert device.run.waveform.loops == 255


def test_garbage_on_the_line_changes_nothing():
    with simulated(serial_garbage=1.0) as device, RadarClient(device.port) as radar:
        assert radar.firmware.kind == "mmwDemo"
        radar.send_config(CFG)
        radar.start()
        assert device.run is not None


def test_a_silent_radar_and_one_that_never_comes_back_are_said():
    with (
        simulated(radar_silent=True) as device,
        pytest.raises(PipelineError, match=r"does not answer at 115200 or 921600 baud: check that this is the appl"),
    ):
        RadarClient(device.port).connect()
    with simulated() as device, RadarClient(device.port) as radar:
        device._faults = FaultPlan(radar_silent=True)
        with pytest.raises(PipelineError, match=r"did not come back within 0\.3 s"):
            radar.wait_ready(0.3)


def test_a_command_that_the_plan_fails_is_reported():
    with (
        simulated(radar_fail=("lvdsStreamCfg",)) as device,
        RadarClient(device.port) as radar,
        pytest.raises(PipelineError, match=r"refused line .*lvdsStreamCfg -1 0 1 0`,: Error -1"),
    ):
        radar.send_config(CFG)


def test_an_unplugged_port_and_one_in_use_are_said():
    with (
        simulated(unplug_radar_after=10) as device,
        RadarClient(device.port) as radar,
        pytest.raises(PipelineError, match=f"serial port {device.port} went away"),
    ):
        radar.send_config(CFG)
    with simulated() as device, RadarClient(device.port), pytest.raises(PipelineError, match="used by another program"):
        RadarClient(device.port).connect()
    with pytest.raises(PipelineError, match="/dev/ttyNone is not there"):
        RadarClient("/dev/ttyNone").connect()
    with pytest.raises(PipelineError, match="is not open"):
        RadarClient("/dev/ttyNone").stop()


# --- a device of ten lines, for what the firmware never does of itself ------------------------------------------------


class ScriptedDevice:
    """Answers the n-th line that begins with a word by the n-th of its scripted replies (the last again and again)."""

    def __init__(self, replies: dict[str, list[bytes]], echo: bool = True) -> None:
        self.master, slave = os.openpty()
        tty.setraw(slave)
        self.port, self._slave, self.seen = os.ttyname(slave), slave, []
        self._replies, self._echo = replies, echo
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        line = b""
        while True:
            try:
                byte = os.read(self.master, 1)
            except OSError:
                return
            if byte != b"\n":
                line += byte
                continue
            text, line = line.decode(), b""
            self.seen.append(text)
            script = self._replies.get(text.split(" ")[0], [b"Done\n"]) if text else [b""]
            answer = script.pop(0) if len(script) > 1 else script[0]
            raw = answer.startswith(b"RAW")
            echo = b"" if raw or not self._echo else text.encode() + b"\r\n"
            os.write(self.master, (echo + answer.removeprefix(b"RAW")) + (b"" if raw else b"mmwDemo:/>"))

    def close(self) -> None:
        os.close(self._slave)  # reading the other end fails from now on, and so ends the thread,
        self._thread.join(10.0)  # which must be gone before another device gets the same descriptor
        os.close(self.master)


VERSION = {"version": [b"Platform                : xWR18xx\nmmWave SDK Version      : 03.05.00.04\nDone\n"]}


@pytest.fixture
def scripted() -> Iterator[object]:
    devices = []

    def make(replies: dict[str, list[bytes]], echo: bool = True) -> ScriptedDevice:
        devices.append(ScriptedDevice(VERSION | replies, echo))
        return devices[-1]

    yield make
    for device in devices:
        device.close()


def test_a_line_garbled_on_its_way_is_sent_again(scripted):
    garbled = b"RAWxxeDataOutputMode 1\r\n'xxeDataOutputMode' is not recognized as a CLI command\nmmwDemo:/>"
    device = scripted({"dfeDataOutputMode": [garbled, garbled, b"Done\n"]})
    with RadarClient(device.port, timeout_s=1.0) as radar:
        radar.send_config("dfeDataOutputMode 1")
    assert device.seen.count("dfeDataOutputMode 1") == 3


def test_a_line_that_stays_garbled_or_was_obeyed_garbled_is_an_error(scripted):
    garbled = b"RAWframeCfg 0 1 6\xff 0 100 1 0\r\nDone\nmmwDemo:/>"
    device = scripted({"frameCfg": [garbled]})
    with (
        RadarClient(device.port, timeout_s=1.0) as radar,
        pytest.raises(PipelineError, match=r"line 1, `frameCfg 0 1 64 .* garbled"),
    ):
        radar.send_config("frameCfg 0 1 64 0 100 1 0")


@pytest.mark.parametrize(
    "first",
    [b"RAW", b"RAWxersion\r\n'xersion' is not recognized as a CLI command\nmmwDemo:/>"],
    ids=["silent", "garbled"],
)
def test_a_radar_that_misses_the_very_first_line_is_recognised_and_known_to_echo(scripted, first):
    device = scripted({"version": [first, *VERSION["version"]], "frameCfg": [b"RAWframeCfg 9\r\nDone\nmmwDemo:/>"]})
    with RadarClient(device.port, timeout_s=0.5) as radar:
        assert radar.firmware.sdk_version == "03.05.00.04"
        with pytest.raises(PipelineError, match="garbled"):
            radar.send_config("frameCfg 0")


def test_noise_before_the_echo_prompts_twice_and_a_lost_prompt_do_no_harm(scripted):
    device = scripted(
        {
            "flushCfg": [b"RAW\x00\xfe??flushCfg\r\nDone\n\rmmwDemo:/>mmwDemo:/>"],
            "lowPower": [b"RAWlowPower 0 0\n\rDone\n\r"],
        }
    )
    with RadarClient(device.port, timeout_s=1.0) as radar:
        radar.send_config("flushCfg\nlowPower 0 0\nadcCfg 2 1")
    assert device.seen[-1] == "adcCfg 2 1"


def test_an_answer_that_comes_too_late_is_not_taken_for_the_next(scripted):
    device = scripted({"channelCfg": [b"RAW"]})
    with RadarClient(device.port) as radar:
        assert radar.send_line("channelCfg 15 5 0", timeout_s=0.2).outcome == "nothing"
        late = threading.Timer(0.1, os.write, (device.master, b"channelCfg 15 5 0\r\nError -9\r\nmmwDemo:/>"))
        device._replies["adcCfg"] = [b"RAW"]
        late.start()
        threading.Timer(0.2, os.write, (device.master, b"adcCfg 2 1\r\nDone\r\nmmwDemo:/>")).start()
        assert radar.send_line("adcCfg 2 1", timeout_s=2.0).outcome == "done"


def test_a_firmware_that_echoes_nothing_and_has_no_help_is_told_by_a_command_it_lacks(scripted):
    unknown = b"'help' is not recognized as a CLI command\n"
    studio = scripted({"help": [unknown], "cfarCfg": [b"'cfarCfg' is not recognized as a CLI command\n"]}, echo=False)
    with RadarClient(studio.port) as radar:
        assert radar.firmware.kind == "studio-cli"
        assert not radar.firmware.knows("guiMonitor")
        radar.send_config("flushCfg\nguiMonitor -1 1 1 0 0 0 1\n")
    assert "flushCfg" in studio.seen
    assert not any(line.startswith("guiMonitor") for line in studio.seen)
    demo = scripted(
        {"help": [unknown], "cfarCfg": [b"Error: Invalid usage of the CLI command\nError -1\n"]}, echo=False
    )
    with RadarClient(demo.port) as radar:
        assert radar.firmware.kind == "mmwDemo"


def test_what_is_no_radar_firmware_is_unknown(scripted):
    device = scripted(
        {
            "version": [b"PresenceSensor 1\nDone\n"],
            "help": [b"Done\n"],
            "cfarCfg": [b"'cfarCfg' is not recognized as a CLI command\n"],
        }
    )
    with RadarClient(device.port) as radar:
        assert radar.firmware.kind == "unknown"
        assert "unknown firmware" in str(radar.firmware)


def test_replies_are_parsed_whatever_their_line_ends():
    received = b"version\n\rPlatform : xWR18xx\r\nDebug: Init Calibration Status = 0x1ffe\n\rDone\n\r\n\rmmwDemo:/>"
    reply = parse_reply(received, "version")
    assert (reply.outcome, reply.words) == ("done", "Platform : xWR18xx; Debug: Init Calibration Status = 0x1ffe")
    assert ended(received, "version", echoes=True)
    assert not ended(received[:-3], "version", echoes=True)
    assert not ended(b"mmwDemo:/>version\nDone\n", "version", echoes=True)
    partial = parse_reply(
        b"sensorStart\nError: You have provided partial configuration\n\rError -1\n\rmmwDemo:/>", "sensorStart"
    )
    assert (partial.outcome, partial.error) == ("error", -1)


def test_lines_for_keeps_numbers_and_the_start_lines_own_argument():
    studio = Firmware("studio-cli", "", "", 921_600)
    lines = lines_for(studio, "sensorStop\n\nflushCfg\ncfarCfg -1 0\n  lowPower   0 0 % idle\nsensorStart 0\n")
    assert lines.sent == ((3, "flushCfg"), (5, "lowPower 0 0"))
    assert lines.left_out == ((4, "cfarCfg -1 0"),)
    assert lines.text == "flushCfg\nlowPower 0 0\nsensorStart 0\n"


# --- finding the port -------------------------------------------------------------------------------------------------


def usb(device: str, description: str = "XDS110", ids: tuple[int, int] = (0x0451, 0xBEF3)) -> ListPortInfo:
    port = ListPortInfo(device)
    (port.vid, port.pid), port.description = ids, description
    return port


def test_the_port_is_found_by_name_else_by_who_answers():
    names = ("XDS110 Class Auxiliary Data Port", "XDS110 Class Application/User UART")
    assert (
        find_radar_port([usb("/dev/a", names[0]), usb("/dev/b", names[1]), usb("/dev/c", names[1], (1, 2))]) == "/dev/b"
    )
    with simulated(radar_silent=True) as auxiliary, simulated() as radar:
        assert find_radar_port([usb(auxiliary.port), usb(radar.port)]) == radar.port
        with pytest.raises(PipelineError, match="No radar firmware answers on"):
            find_radar_port([usb(auxiliary.port)])


def test_no_radar_and_two_radars_are_said():
    with pytest.raises(PipelineError, match="No radar is connected: no USB serial port has TI's id 0451:bef3"):
        find_radar_port([usb("/dev/a", ids=(0x10C4, 0xEA60))])
    both = [usb(f"/dev/{name}", "Application/User UART") for name in "ab"]
    with pytest.raises(PipelineError, match=r"Several radars are connected \(/dev/a, /dev/b\)"):
        find_radar_port(both)


def test_hardware_trigger_waits_for_pulses_and_misses_those_that_come_too_soon():
    w = Waveform.model_validate({**PRESETS["light"].model_dump(), "trigger": "hardware", "period_ms": 95.0})
    with simulated() as device, RadarClient(device.port) as radar:
        radar.send_config(write_cfg(w))
        radar.start()
        run = device.run
        assert run is not None
        assert run.frame_start_s(0) is None
        begin = time.monotonic()
        for pulse_s in (1.0, 1.1, 1.15, 1.2):
            device.pulse(pulse_s)
        assert [run.frame_start_s(index) for index in range(4)] == [1.0, 1.1, 1.2, None]
        assert run.missed_pulses == 1
        assert time.monotonic() - begin < 5
