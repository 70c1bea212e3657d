"""Every bad `.cfg` and JSON gets one sentence that names the file, the line and what to do."""

import json

import pytest

from pipeline.card_config import CardConfig, read_card_json, throughput_mbps
from pipeline.cfg_text import parse_cfg, read_cfg, write_cfg
from pipeline.constraints import check_config, require
from pipeline.errors import PipelineError
from pipeline.settings import read_rig, waveform_config
from pipeline.studio_json import read_mmwave_json, read_setup_json
from pipeline.waveform import PRESETS

GOOD = write_cfg(PRESETS["light"])


def _line(command):
    return next(i for i, line in enumerate(GOOD.split("\n"), 1) if line.startswith(command))


def _changed(command, words):
    """GOOD with the given word of the first `command` line replaced."""
    lines = GOOD.split("\n")
    parts = lines[_line(command) - 1].split()
    for index, word in words.items():
        parts[index] = word
    lines[_line(command) - 1] = " ".join(parts)
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "holds no command"),
        (GOOD + "fooCfg 1\n", "line 31: 'fooCfg' is not a command"),
        (GOOD.replace("frameCfg", "framecfg"), "did you mean frameCfg"),
        (GOOD.replace("frameCfg", "% frameCfg"), "has no frameCfg line"),
        ("\n".join(x for x in GOOD.split("\n") if not x.startswith("chirpCfg")), "has no chirpCfg line"),
        (
            _changed("profileCfg", {10: "1.5"}),
            f"line {_line('profileCfg')}: profileCfg samples per chirp 1.5 must be a whole",
        ),
        (_changed("profileCfg", {2: "99"}), "start frequency (GHz) 99 must lie between 57 and 81"),
        (_changed("profileCfg", {2: "nan"}), "start frequency (GHz) nan"),
        (_changed("profileCfg", {2: "seventy"}), "profileCfg value 'seventy' is not a number"),
        (_changed("frameCfg", {3: "256"}), f"line {_line('frameCfg')}: frameCfg number of loops 256"),
        (_changed("frameCfg", {2: "2"}), "uses chirp 2, which no chirpCfg line defines"),
        (_changed("chirpCfg", {8: "3"}), "fires transmitter mask 3"),
        (_changed("chirpCfg", {8: "2"}), "leaves off"),
        (_changed("chirpCfg", {8: "4"}), "fires TX3 twice"),
        (_changed("chirpCfg", {4: "1"}), "varies frequency"),
        (_changed("chirpCfg", {3: "1"}), "mixes chirps of several profiles"),
        (_changed("adcCfg", {2: "0"}), "16 bit, complex"),
        (_changed("adcbufCfg", {4: "0"}), "interleaved channels"),
        (_changed("dfeDataOutputMode", {1: "3"}), "only legacy frames"),
        (GOOD.replace("lowPower 0 0", "lowPower 0"), "lowPower takes 2 values, not 1"),
        (GOOD + "\x00\x01\x02 1\n", "is not text a radar understands"),
    ],
)
def test_bad_cfg(text, says):
    with pytest.raises(PipelineError) as caught:
        parse_cfg(text, "lab.cfg")
    assert says in str(caught.value)
    assert str(caught.value).startswith("lab.cfg")


def test_windows_text_is_accepted_and_said():
    config = parse_cfg("\ufeff" + GOOD.replace("\n", "\r\n"), "lab.cfg")
    assert config.waveform.loops == 64
    assert config.text == GOOD
    assert ["byte-order mark" in config.notes[0], "CRLF" in config.notes[1]] == [True, True]


def test_a_cfg_that_is_no_text(tmp_path):
    path = tmp_path / "adc.cfg"
    path.write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(PipelineError, match="not a text file"):
        read_cfg(path)
    with pytest.raises(PipelineError, match="cannot be read"):
        read_cfg(tmp_path / "absent.cfg")


def test_real_files_pass_what_the_demo_firmware_checks(shared_data):
    for path in sorted((shared_data / "cfg").glob("*.cfg")):
        checks = check_config(read_cfg(path), firmware="mmwDemo")
        assert [check for check in checks if check.passed is False] == [], path.name


@pytest.mark.parametrize(
    ("command", "words", "broken"),
    [
        ("frameCfg", {5: "20"}, {"duty cycle"}),
        ("profileCfg", {8: "90"}, {"band"}),
        ("profileCfg", {4: "12"}, {"ADC window"}),
        ("profileCfg", {11: "13000"}, {"sample rate"}),
        ("profileCfg", {10: "255"}, {"samples"}),
        ("frameCfg", {3: "65", 5: "200"}, {"demo firmware"}),
        ("frameCfg", {6: "2", 5: "100"}, {"hardware trigger"}),
        ("frameCfg", {3: "64", 5: "16"}, {"duty cycle"}),
        ("lvdsStreamCfg", {3: "0"}, {"LVDS"}),
    ],
)
def test_each_rule_is_broken_alone_and_names_its_line(command, words, broken):
    config = parse_cfg(_changed(command, words), "lab.cfg")
    checks = check_config(config, firmware="mmwDemo", trigger_period_ms=100)
    failed = [check for check in checks if check.passed is False]
    assert {check.name for check in failed} == broken
    assert {check.where for check in failed} == {f"lab.cfg line {_line(command)}"}
    with pytest.raises(PipelineError, match=rf"lab.cfg line {_line(command)}: {broken.pop()}"):
        require(checks)


def test_hardware_trigger_needs_a_period_shorter_than_the_pulses():
    config = parse_cfg(_changed("frameCfg", {6: "2", 5: "95"}), "lab.cfg")
    by_name = {check.name: check for check in check_config(config, trigger_period_ms=100)}
    assert by_name["hardware trigger"].passed is True


def test_link_and_lane_rates():
    w = PRESETS["paper"]
    config = parse_cfg(write_cfg(w), "paper")
    names = {check.name for check in check_config(config, packet_delay_us=100) if check.passed is False}
    assert names == {"link rate"}  # 167 Mbit/s through a card slowed to about 105
    fast = w.model_copy(update={"samples": 1024, "sample_rate_ksps": 12500, "ramp_end_time_us": 90, "idle_time_us": 2})
    fast = fast.model_copy(update={"slope_mhz_per_us": 30.0, "period_ms": 500.0})
    failed = {c.name for c in check_config(parse_cfg(write_cfg(fast), "fast")) if c.passed is False}
    assert failed == {"lane rate"}  # 16384 bytes in 92 us is more than 1200 Mbit/s
    assert [throughput_mbps(delay) for delay in (5, 10, 25, 50)] == pytest.approx([706, 545, 325, 193])
    assert throughput_mbps(50) > throughput_mbps(51) > throughput_mbps(500) > 20


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "is not JSON"),
        ("[]", "no object"),
        ('{"DCA1000Config": {}}', "not mmWave Studio's radar configuration: it has DCA1000Config"),
        ('{"mmWaveDevices": []}', "configures 0 devices"),
        ('{"mmWaveDevices": [{}]}', "has no rfConfig"),
        ('{"mmWaveDevices": 7}', "does not have the structure"),
    ],
)
def test_bad_studio_json(tmp_path, content, says):
    path = tmp_path / "x.mmwave.json"
    path.write_text(content)
    with pytest.raises(PipelineError, match=says):
        read_mmwave_json(path)


def test_setup_and_card_json_of_the_wrong_tool(tmp_path, shared_data):
    path = tmp_path / "x.json"
    path.write_text('{"name": "package"}')
    with pytest.raises(PipelineError, match="not mmWave Studio's capture set-up"):
        read_setup_json(path)
    with pytest.raises(PipelineError, match="it has name, not `DCA1000Config`"):
        read_card_json(path)
    card = read_card_json(shared_data / "iwr6843isk_mmwave_studio" / "CaptureSetup.setup.json")
    assert card == CardConfig(packet_delay_us=25)


@pytest.mark.parametrize(
    ("card", "says"),
    [
        ({"packetDelay_us": 3}, "packet_delay_us 3"),
        ({"dataCaptureMode": "SDCardStorage"}, "only 'ethernetStream'"),
        ({"ethernetConfig": {"DCA1000DataPort": 70000}}, "data_port 70000"),
        ({"lvdsMode": 3}, "lvds_lanes 3"),
    ],
)
def test_bad_card_json(tmp_path, card, says):
    path = tmp_path / "cf.json"
    path.write_text(json.dumps({"DCA1000Config": card}))
    with pytest.raises(PipelineError, match=says):
        read_card_json(path)


def test_a_card_json_in_full(tmp_path):
    path = tmp_path / "cf.json"
    card = {
        "dataLoggingMode": "raw",
        "lvdsMode": 2,
        "dataFormatMode": 3,
        "packetDelay_us": 5,
        "ethernetConfig": {"DCA1000IPAddress": "10.0.0.9", "DCA1000ConfigPort": 5000, "DCA1000DataPort": 5001},
        "dataFormatConfig": {"reorderEnable": 1},
    }
    path.write_text(json.dumps({"DCA1000Config": card}))
    expected = CardConfig(card_ip="10.0.0.9", config_port=5000, data_port=5001, packet_delay_us=5, reordered=True)
    assert read_card_json(path) == expected


def test_rig_settings(tmp_path):
    assert read_rig(tmp_path).simulated
    (tmp_path / "rig.toml").write_text('kind = "hardware"\nwaveform = "lab.cfg"\n[simulator]\nseed = 7\n')
    rig = read_rig(tmp_path)
    assert (rig.kind, rig.simulator.seed) == ("hardware", 7)
    with pytest.raises(PipelineError, match=r"no waveform 'lab.cfg'"):
        waveform_config(tmp_path, rig.waveform)
    (tmp_path / "lab.cfg").write_text(GOOD)
    assert waveform_config(tmp_path, rig.waveform).waveform.name == "lab.cfg"
    with pytest.raises(PipelineError, match="outside the data root"):
        waveform_config(tmp_path, "../../etc/passwd")
    for text, says in [("kind = 3", "rig.toml: kind"), ("kind", "not TOML"), ("speed = 1", "rig.toml: speed")]:
        (tmp_path / "rig.toml").write_text(text)
        with pytest.raises(PipelineError, match=says):
            read_rig(tmp_path)


def test_a_cfg_behind_a_link_in_the_data_root_lies_in_it(tmp_path):
    root, elsewhere = tmp_path / "data", tmp_path / "elsewhere"
    for folder in (root, elsewhere):
        folder.mkdir()
    (elsewhere / "lab.cfg").write_text(GOOD)
    (root / "incoming").symlink_to(elsewhere)
    for inside in ("incoming/lab.cfg", str(root / "incoming/lab.cfg")):  # as it is typed, and as a flow passes it on
        assert waveform_config(root, inside).waveform.name == "lab.cfg"
    for outside in ("incoming/../elsewhere/lab.cfg", "../elsewhere/lab.cfg", str(elsewhere / "lab.cfg")):
        with pytest.raises(PipelineError, match=r"outside the data root .*; copy the .cfg into it, or link it there"):
            waveform_config(root, outside)
