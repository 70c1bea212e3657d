"""The trigger board's hardware: an RP2040 (Raspberry Pi Pico) under MicroPython. Everything that touches a pin is here.

One crystal drives all of it. The system clock (125 MHz) comes from the crystal through a PLL and is divided by exactly 125
for the state machines; the 64-bit timer counts the crystal's twelfth. So a PIO cycle is one microsecond of the clock that
stamps the pulses, and the two never part. Registers: RP2040 datasheet, sections 3.7 (PIO) and 4.6.5 (timer).
"""

# ruff: noqa: F821, B905
# mypy: disable-error-code="name-defined,attr-defined"
import gc
import os
import select
import sys
import time
from array import array

import machine
import micropython
import rp2
from machine import Pin, mem32
from protocol import Board
from schedule import FIFO_WORDS, begun, extend, first_word, next_word, read_64, width_word

RADAR_PIN, CAMERA_PIN, EDGE_PIN = 2, 3, 4
SYSTEM_HZ, CYCLE_HZ = 125_000_000, 1_000_000
RELEASE_US = 10_000  # from filling the FIFOs to the release of both state machines
SPIN_US = 500  # of these with interrupts off, watching the timer

_CTRL_CLEAR = 0x50203000  # PIO0 CTRL through its atomic clear alias
_FDEBUG = 0x50200008
_COUNTERS = (0x502000D4, 0x502000EC)  # program counters of state machines 0 and 1
_BOTH_ENABLED = 0x3
_BOTH_STALLED = 0x03000000  # FDEBUG.TXSTALL: sticky, cleared by writing ones
_TIMER_HIGH, _TIMER_LOW = 0x40054024, 0x40054028
_KEPT_EDGES = 64  # until the loop comes round: two seconds of a 30 Hz camera
_TICK_BITS = 30  # of time.ticks_us, which are the timer's lowest


# fmt: off
@rp2.asm_pio(sideset_init=rp2.PIO.OUT_LOW, fifo_join=rp2.PIO.JOIN_TX)
def pulses():
    """One pulse a word: high for as many cycles as the first word says + 1. schedule.py has the arithmetic."""
    pull(block)            .side(0)  # 0  the first word: width - 1
    mov(isr, osr)          .side(0)  # 1  kept in ISR, which nothing else uses
    wrap_target()
    pull(block)            .side(0)  # 2  an empty FIFO holds the pin low
    mov(x, osr)            .side(0)  # 3
    label("low")
    jmp(x_dec, "low")      .side(0)  # 4  x + 1 cycles
    mov(y, isr)            .side(0)  # 5
    label("high")
    jmp(y_dec, "high")     .side(1)  # 6  y + 1 cycles
    wrap()
# fmt: on


@micropython.viper
def _release_at(low_us: int, within_us: int) -> int:
    """Release both state machines, their dividers restarted, as the timer's low word becomes `low_us`.

    0, and nothing done, when that is past or further off than `within_us`. A turn of the loop takes a fraction of a microsecond.
    """
    timer = ptr32(0x40054028)  # TIMERAWL
    control = ptr32(0x50202000)  # PIO0 CTRL through its atomic set alias
    left = low_us - int(timer[0])
    if left <= 0 or left > within_us:
        return 0
    while low_us - int(timer[0]) > 0:
        pass
    control[0] = 0x303  # CLKDIV_RESTART and SM_ENABLE of state machines 0 and 1
    return 1


def _timer_high():
    return mem32[_TIMER_HIGH]


def _timer_low():
    return mem32[_TIMER_LOW]


class RP2040Board(Board):
    """Radar pulses on GP2, camera pulses on GP3, the camera's sync-out on GP4, lines over the USB serial port."""

    def __init__(self):
        machine.freq(SYSTEM_HZ)
        self.boot = int.from_bytes(os.urandom(4), "little")
        self._machines = [
            rp2.StateMachine(number, pulses, freq=CYCLE_HZ, sideset_base=Pin(pin))
            for number, pin in ((0, RADAR_PIN), (1, CAMERA_PIN))
        ]
        self._pins = (Pin(RADAR_PIN), Pin(CAMERA_PIN))
        self._start = [0, 0]  # where the program begins in the PIO's memory
        self._widths = (0, 0)
        self._pushed = 0
        self._before_us = 0
        self._reset()
        self._ticks = array("I", [0] * _KEPT_EDGES)
        self._edges = self._edges_said = 0
        Pin(EDGE_PIN, Pin.IN, Pin.PULL_DOWN).irq(self._edge, Pin.IRQ_RISING, hard=True)
        self._readable, self._writable = select.poll(), select.poll()
        self._readable.register(sys.stdin, select.POLLIN)
        self._writable.register(sys.stdout, select.POLLOUT)

    def now_us(self):
        """The timer: 64 bits that start at 0 and outlive everybody."""
        return read_64(_timer_high, _timer_low)

    # --- the serial line ---------------------------------------------------------------------------------------------
    def read(self):
        """At most 64 bytes, so that a chattering host cannot starve the outputs."""
        data = b""
        while len(data) < 64 and self._readable.poll(0):
            data += sys.stdin.buffer.read(1)
        return data

    def write(self, data):
        """Without room nothing is sent; with too little the write waits up to half a second for the host, once."""
        if not self._writable.poll(0):
            return False
        sys.stdout.buffer.write(data)
        return True

    # --- the camera's edges ------------------------------------------------------------------------------------------
    def _edge(self, _pin):
        """Runs as a hard interrupt: nothing here may allocate memory, so it keeps 30 bits of the time."""
        self._ticks[self._edges % _KEPT_EDGES] = time.ticks_us()
        self._edges += 1

    def edges(self):
        """Edges the loop was too slow for are missing, and their numbers with them."""
        count = self._edges  # before the clock is read: an edge that comes in between waits for the next call
        if count == self._edges_said:
            return []
        now_us = self.now_us()
        first = max(self._edges_said, count - _KEPT_EDGES + 1)
        found = [(n, extend(now_us, self._ticks[n % _KEPT_EDGES], _TICK_BITS)) for n in range(first, count)]
        self._edges_said = count
        return found

    # --- the outputs -------------------------------------------------------------------------------------------------
    def begin(self, radar_us, camera_us, delay_us, pulses):
        """Fill both FIFOs, then release both state machines in one write at a known microsecond."""
        self._reset()
        gc.collect()
        release_us = self.now_us() + RELEASE_US
        if pulses[0][1] < release_us + RELEASE_US:
            return False
        self._widths = (radar_us, camera_us)
        for machine_, width_us, later_us in zip(self._machines, self._widths, (0, delay_us)):
            machine_.put(width_word(width_us))
            machine_.put(first_word(release_us, pulses[0][1] + later_us))
        self._pushed, self._before_us = 1, pulses[0][1]
        for number, at_us in pulses[1:]:
            self.push(number, at_us)
        mem32[_FDEBUG] = _BOTH_STALLED
        while self.now_us() < release_us - SPIN_US:
            pass
        interrupts = machine.disable_irq()
        released = _release_at(release_us & 0xFFFFFFFF, SPIN_US)
        machine.enable_irq(interrupts)
        return bool(released)

    def room(self):
        """Words that both FIFOs take."""
        return FIFO_WORDS - max(self._machines[0].tx_fifo(), self._machines[1].tx_fifo())

    def push(self, number, at_us):
        """The camera's pulses follow the radar's at a fixed delay, so that both wait equally long from rise to rise."""
        for machine_, width_us in zip(self._machines, self._widths):
            machine_.put(next_word(self._before_us, at_us, width_us))
        self._pushed += 1
        self._before_us = at_us

    def starved(self):
        """Whether a state machine found its FIFO empty."""
        return bool(mem32[_FDEBUG] & _BOTH_STALLED)

    def halt(self):
        """Lets a pulse under way end first; then the radar's state machine itself tells how far it got."""
        while self._pushed and (self._pins[0].value() or self._pins[1].value()):
            pass
        mem32[_CTRL_CLEAR] = _BOTH_ENABLED
        counter = (mem32[_COUNTERS[0]] & 31) - self._start[0]
        count = begun(self._pushed, self._machines[0].tx_fifo(), counter, bool(self._pins[0].value()))
        self._reset()
        return count

    def _reset(self):
        """Both state machines stopped at their program's start, FIFOs empty, pins low."""
        for number, pin in enumerate((RADAR_PIN, CAMERA_PIN)):
            self._machines[number].init(pulses, freq=CYCLE_HZ, sideset_base=Pin(pin))
            self._start[number] = mem32[_COUNTERS[number]] & 31
        self._pushed = 0
