"""As much of an RP2040 as the trigger board's hardware module touches, in virtual microseconds.

Two PIO state machines that decode and run assembled 16-bit instructions, their FIFOs and registers, timer, pins, serial line.

Encodings and timing from the RP2040 datasheet, section 3.4; `asm_pio` has the names that MicroPython gives to them.
"""

import builtins
import importlib
import types
from collections import deque
from pathlib import Path

FIRMWARE = Path(__file__).resolve().parents[2] / "capture" / "firmware"
CONDITIONS = {"always": 0, "not_x": 1, "x_dec": 2, "not_y": 3, "y_dec": 4}
REGISTERS = {"x": 1, "y": 2, "isr": 6, "osr": 7}


class Program:
    """What `asm_pio` makes of a decorated function: words, wrap target and wrap, side-set bits."""

    def __init__(self, function, sideset_bits: int) -> None:
        self.words: list[int] = []
        self.labels: dict[str, int] = {}
        self.target = 0
        self.sideset_bits = sideset_bits
        names = {name: getattr(self, name) for name in ("pull", "mov", "jmp", "label", "wrap_target", "wrap")}
        run = types.FunctionType(function.__code__, {**CONDITIONS, **REGISTERS, **names, "block": 0x21})
        run()
        self.words = []  # again, now that the labels are known
        run()

    def side(self, value: int) -> "Program":
        self.words[-1] |= value << (13 - self.sideset_bits)
        return self

    def _word(self, word: int) -> "Program":
        self.words.append(word)
        return self

    def pull(self, how: int) -> "Program":
        return self._word(0x8080 | how & 0x60)

    def mov(self, destination: int, source: int) -> "Program":
        return self._word(0xA000 | destination << 5 | source)

    def jmp(self, condition: int, label: str) -> "Program":
        return self._word(condition << 5 | self.labels.get(label, 0))

    def label(self, name: str) -> None:
        self.labels[name] = len(self.words)

    def wrap_target(self) -> None:
        self.target = len(self.words)

    def wrap(self) -> None:
        assert self.target < len(self.words)


class Machine:
    """One state machine with its FIFOs joined: registers, and at which times its side-set pin changed."""

    def __init__(self, words: list[int], target: int, offset: int = 0) -> None:
        self.words, self.target, self.offset = words, target, offset
        self.x = self.y = self.isr = self.osr = 0
        self.counter = 0
        self.fifo: deque[int] = deque()
        self.pin = False
        self.stalled = False
        self.edges: list[tuple[int, bool]] = []

    def put(self, word: int) -> None:
        assert 0 <= word < 1 << 32
        assert len(self.fifo) < 8, "MicroPython would wait here"
        self.fifo.append(word)

    def advance(self, now: int, cycles: int) -> None:
        """`cycles` cycles, the first of which begins at `now`."""
        end = now + cycles
        while now < end:
            word = self.words[self.counter]
            self._side(bool(word >> 12 & 1), now)
            delay = word >> 8 & 0xF
            assert delay == 0
            now += self._execute(word, end - now)

    def _side(self, level: bool, now: int) -> None:
        if level != self.pin:
            self.pin = level
            self.edges.append((now, level))

    def _execute(self, word: int, most: int) -> int:
        """One instruction, or several turns of a loop on itself; how many cycles they took."""
        name, low = word >> 13, word & 0xFF
        onward = self.target if self.counter == len(self.words) - 1 else self.counter + 1
        if name == 0:  # JMP
            condition, to = low >> 5, low & 0x1F
            register = {2: "x", 4: "y"}[condition]
            value = getattr(self, register)
            if to == self.counter and value:
                turns = min(value, most)
                setattr(self, register, value - turns)
                return turns
            setattr(self, register, (value - 1) & 0xFFFFFFFF)
            self.counter = to if value else onward
        elif name == 4:  # PULL block
            assert low == 0xA0
            if not self.fifo:
                self.stalled = True
                return most
            self.osr = self.fifo.popleft()
            self.counter = onward
        elif name == 5:  # MOV
            source, destination = low & 7, low >> 5
            assert low >> 3 & 3 == 0
            names = {number: register for register, number in REGISTERS.items()}
            setattr(self, names[destination], getattr(self, names[source]))
            self.counter = onward
        else:
            raise AssertionError(f"instruction {word:04x}")
        return 1

    def rises(self) -> list[int]:
        return [at for at, level in self.edges if level]

    def widths(self) -> list[int]:
        return [down - up for (up, _), (down, _) in zip(self.edges[::2], self.edges[1::2], strict=False)]


class FakeRp2040:
    """The chip: virtual time moves when the timer is read or the serial line polled."""

    def __init__(self, now_us: int = 0) -> None:
        self.now_us = now_us
        self.machines: list[Machine] = []
        self.pins: dict[int, Machine] = {}
        self.past: list[Machine] = []  # what a machine did before it was made anew
        self.enabled: set[int] = set()
        self.from_host: deque[int] = deque()
        self.to_host: list[bytes] = []
        self.handler = None

    def advance(self, cycles: int) -> None:
        for number in self.enabled:
            self.machines[number].advance(self.now_us, cycles)
        self.now_us += cycles

    def rises(self, pin: int) -> list[int]:
        return sorted(at for number, machine in self.past_and_present() if number == pin for at in machine.rises())

    def widths(self, pin: int) -> set[int]:
        return {width for number, machine in self.past_and_present() if number == pin for width in machine.widths()}

    def past_and_present(self):
        yield from self.past
        yield from self.pins.items()

    # --- registers ---------------------------------------------------------------------------------------------------
    def __getitem__(self, address: int) -> int:
        if address == 0x40054024:
            return self.now_us >> 32
        if address == 0x40054028:
            self.advance(1)
            return self.now_us & 0xFFFFFFFF
        if address == 0x50200008:
            return sum(machine.stalled << 24 + number for number, machine in enumerate(self.machines))
        number = {0x502000D4: 0, 0x502000EC: 1}[address]
        return self.machines[number].offset + self.machines[number].counter

    def __setitem__(self, address: int, value: int) -> None:
        if address == 0x50200008:
            for number, machine in enumerate(self.machines):
                machine.stalled &= not value >> 24 + number & 1
        elif address == 0x50203000:
            assert value == 3
            self.enabled.clear()
        elif address == 0x50202000:
            assert value == 0x303
            self.enabled |= {0, 1}
        else:
            raise AssertionError(hex(address))

    def load(self):
        """The names of `board_rp2040.py`, run with this chip behind every module of MicroPython's that it imports."""
        chip = self

        class StateMachine:
            def __init__(self, number, program, freq, sideset_base):
                assert number == len(chip.machines)
                chip.machines.append(Machine(program.words, program.target, 32 - len(program.words)))
                self.number = number
                self.init(program, freq, sideset_base)

            def init(self, program, freq, sideset_base):
                assert freq == 1_000_000
                assert chip.frequency == 125_000_000
                old = chip.pins.get(sideset_base.number)
                if old is not None:
                    old._side(False, chip.now_us)
                    chip.past.append((sideset_base.number, old))
                chip.enabled.discard(self.number)
                machine = Machine(program.words, program.target, 32 - len(program.words))
                chip.machines[self.number] = chip.pins[sideset_base.number] = machine

            def put(self, word):
                chip.machines[self.number].put(word)

            def tx_fifo(self):
                return len(chip.machines[self.number].fifo)

        class PIO:
            OUT_LOW, JOIN_TX = 2, 1

        def asm_pio(sideset_init, fifo_join):
            assert (sideset_init, fifo_join) == (PIO.OUT_LOW, PIO.JOIN_TX)
            return lambda function: Program(function, 1)

        class Pin:
            IN, PULL_DOWN, IRQ_RISING = range(3)

            def __init__(self, number, *_):
                self.number = number

            def value(self):
                chip.advance(1)
                return int(chip.pins[self.number].pin)

            def irq(self, handler, trigger, hard):
                assert trigger == Pin.IRQ_RISING
                assert hard
                chip.handler = handler

        class Poll:
            def register(self, stream, _event):
                self.stream = stream

            def poll(self, timeout):
                assert timeout == 0
                if self.stream is stdout:
                    return True
                chip.advance(50)
                return bool(chip.from_host)

        def read(count):
            assert count == 1
            return bytes([chip.from_host.popleft()])

        def set_frequency(hz):
            chip.frequency = hz

        stdin = types.SimpleNamespace(buffer=types.SimpleNamespace(read=read))
        stdout = types.SimpleNamespace(buffer=types.SimpleNamespace(write=chip.to_host.append))
        there = {
            "rp2": {"StateMachine": StateMachine, "PIO": PIO, "asm_pio": asm_pio},
            "machine": {
                "Pin": Pin,
                "mem32": chip,
                "freq": set_frequency,
                "disable_irq": lambda: 1,
                "enable_irq": lambda state: None,
            },
            "micropython": {"viper": lambda function: lambda *values: function(*map(_Word, values))},
            "select": {"poll": Poll, "POLLIN": 1, "POLLOUT": 4},
            "sys": {"stdin": stdin, "stdout": stdout},
            "time": {"ticks_us": lambda: chip.now_us & (1 << 30) - 1},
        }

        def imported(name, *rest):
            if name in there:
                return types.SimpleNamespace(**there[name])
            if name in ("protocol", "schedule"):  # side by side on the board
                return importlib.import_module(f"capture.firmware.{name}")
            return builtins.__import__(name, *rest)

        path = FIRMWARE / "board_rp2040.py"
        scope = {
            "__name__": "board_rp2040",
            "__builtins__": {**vars(builtins), "__import__": imported},
            "ptr32": lambda address: _Pointer(chip, address),
        }
        exec(compile(path.read_text(), path, "exec"), scope)
        return types.SimpleNamespace(**scope)


class _Word(int):
    """Viper's int: signed, 32 bits, wrapping."""

    def __sub__(self, other: int) -> "_Word":
        return _Word((int(self) - int(other) + (1 << 31)) % (1 << 32) - (1 << 31))


class _Pointer:
    def __init__(self, chip: FakeRp2040, address: int) -> None:
        self.chip, self.address = chip, address

    def __getitem__(self, index: int) -> int:
        assert index == 0
        return self.chip[self.address]

    def __setitem__(self, index: int, value: int) -> None:
        assert index == 0
        self.chip[self.address] = value
