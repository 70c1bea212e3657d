"""When each pulse comes, which are left out, and the words that make a PIO state machine pulse at just those times.

Integers only, so that pulse k is at the same microsecond on the board, in the simulator and in the tests: rates are in
thousandths of a hertz, times in microseconds of the board's 64-bit clock. Plain Python that MicroPython and CPython run alike.
"""

SLOWEST_MHZ, FASTEST_MHZ = 500, 200_000  # 0.5 Hz to 200 Hz, in thousandths of a hertz
MARK_EVERY_S = 30

# The pulse program (board_rp2040.py) at one cycle a microsecond. From its release to the first rising edge it spends 2 cycles
# on its first word (the width), 1 on pull, 1 on mov, x + 1 on the wait, 1 on mov; from one rising edge to the next the width,
# and then all of those but the first word again.
CYCLES_BEFORE_FIRST = 6
CYCLES_BETWEEN = 4
FIFO_WORDS = 8  # both FIFOs of a state machine joined for sending


def left_out(number: int, rate_mhz: int) -> bool:
    """Whether the gap signature leaves out pulse `number` (from 0) of a run at `rate_mhz` thousandths of a hertz.

    Pulses 5 and 6 are left out, and of those after 6 the first one at or after each 30 s since pulse 0. Numbers count on
    over the gaps.
    """
    if number <= 6:
        return number >= 5
    every = MARK_EVERY_S * rate_mhz
    return number * 1000 // every != (number - 1) * 1000 // every


def parse_rate_mhz(text: str) -> int:
    """Thousandths of a hertz of a decimal number of hertz, at most three places; ValueError where it is none."""
    whole, _, part = text.partition(".")
    if not whole.isdigit() or (part and not part.isdigit()) or len(part) > 3:
        raise ValueError(text)
    return int(whole) * 1000 + int((part + "000")[:3])


class Schedule:
    """The pulses of one run: `pulses` numbers at `rate_mhz`, pulse 0 at `first_us`."""

    def __init__(self, first_us: int, rate_mhz: int, pulses: int, signature: bool) -> None:
        self.first_us = first_us
        self.rate_mhz = rate_mhz
        self.pulses = pulses
        self.signature = signature

    def at_us(self, number: int) -> int:
        """Board time of pulse `number`: rounded down each time anew, so that nothing adds up."""
        return self.first_us + number * 1_000_000_000 // self.rate_mhz

    def following(self, number: int) -> int:
        """The first number from `number` on that is not left out; `pulses` when there is none."""
        while self.signature and number < self.pulses and left_out(number, self.rate_mhz):
            number += 1
        return min(number, self.pulses)


def width_word(width_us: int) -> int:
    """The first word of a state machine: its pulses are `width_us` cycles wide."""
    return width_us - 1


def first_word(release_us: int, at_us: int) -> int:
    """The word for the first pulse to rise at `at_us` of a state machine that is released at `release_us`."""
    return at_us - release_us - CYCLES_BEFORE_FIRST


def next_word(before_us: int, at_us: int, width_us: int) -> int:
    """The word for the next pulse to rise at `at_us`, after one of `width_us` that rose at `before_us`."""
    return at_us - before_us - width_us - CYCLES_BETWEEN


def begun(pushed: int, words_left: int, counter: int, high: bool) -> int:
    """How many of `pushed` pulses had risen when a state machine was stopped.

    Told by the words left in its FIFO, its program counter (0 at the program's start) and its pin. The counter names the
    instruction that would come next: at 3, 4 and 5 the newest word's pulse has not risen, at 6 only if the pin is high.
    """
    to_come = 1 if counter in (3, 4, 5) or (counter == 6 and not high) else 0
    return max(pushed - words_left - to_come, 0)


def read_64(read_high, read_low) -> int:
    """A 64-bit counter that is read as two 32-bit halves, right even when the lower one overflows in between."""
    while True:
        high = read_high()
        low = read_low()
        if read_high() == high:
            return (high << 32) | low


def extend(now: int, low_bits: int, bits: int) -> int:
    """The newest time up to `now` whose lowest `bits` bits are `low_bits`: a short timestamp taken not long ago, made whole."""
    span = 1 << bits
    return now - (now - low_bits) % span
