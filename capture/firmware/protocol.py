"""What the trigger board does: commands in, pulses scheduled, lines out. docs/trigger-board.md has the table of lines.

Knows nothing of pins: everything it touches is a `Board`, which is the RP2040 (board_rp2040.py) or a simulated one. Plain
Python that MicroPython and CPython run alike.
"""

try:
    from capture.firmware.lines import LineReader, frame
    from capture.firmware.schedule import FASTEST_MHZ, SLOWEST_MHZ, Schedule, parse_rate_mhz
except ImportError:  # on the board the files lie side by side
    from lines import LineReader, frame  # type: ignore[no-redef]
    from schedule import FASTEST_MHZ, SLOWEST_MHZ, Schedule, parse_rate_mhz  # type: ignore[no-redef]

FIRMWARE = "maepose-trigger/1"
SILENCE_US = 5_000_000  # a host that says nothing for so long is gone: pulses stop
STATUS_EVERY_US = 1_000_000
FIRST_PULSE_US = 100_000  # from START to pulse 0
RESUME_US = 50_000  # from a starved output to the first pulse that can be on time again
LONGEST_QUEUE = 64  # lines that wait for a host that does not read; more are dropped, and show as gaps in their numbers

LIMITS = {"radar_us": (1, 4), "cam_us": (100, 10_000), "cam_delay_us": (0, 1_000_000)}


class Board:
    """What the protocol needs of a board. Times are microseconds of its 64-bit clock."""

    boot = 0  # a random number that tells this start of the board from every other

    def now_us(self) -> int:
        """The clock."""
        raise NotImplementedError

    def read(self) -> bytes:
        """What the host sent since the last call; does not wait."""
        raise NotImplementedError

    def write(self, data: bytes) -> bool:
        """Send `data` if there is room for it now; whether it was sent."""
        raise NotImplementedError

    def edges(self) -> "list[tuple[int, int]]":
        """Number (from 0 since the boot) and time of each rising edge of the camera's sync-out since the last call."""
        raise NotImplementedError

    def begin(self, radar_us: int, camera_us: int, delay_us: int, pulses: "list[tuple[int, int]]") -> bool:
        """Set both outputs going for `pulses` (number, time), at most `room()`; False when it is too late for the first."""
        raise NotImplementedError

    def room(self) -> int:
        """How many more pulses `push` takes now."""
        raise NotImplementedError

    def push(self, number: int, at_us: int) -> None:
        """One more pulse after those that are waiting."""
        raise NotImplementedError

    def starved(self) -> bool:
        """Whether an output has had nothing to wait for since `begin`, so that what was pushed later would come late."""
        raise NotImplementedError

    def halt(self) -> int:
        """Both outputs low, nothing waiting; how many pulses had begun on the radar's output since `begin`."""
        raise NotImplementedError


class Protocol:
    """The board's program over `board`; call `poll` for ever."""

    def __init__(self, board: Board, silence_us: int = SILENCE_US) -> None:
        self._board = board
        self._silence_us = silence_us
        self._reader = LineReader()
        self._out: list[bytes] = []
        self._widths = (2, 150, 0)  # radar, camera, delay: CFG
        self._state = "idle"
        self._run = 0
        self._order = ""  # the START that was obeyed last
        self._sent = self._late = 0
        self._schedule = Schedule(0, 1000, 0, False)
        self._next = 0  # number of the next pulse to hand to the board
        self._waiting: list[tuple[int, int]] = []  # handed over, not reported yet
        self._reported = 0  # of those handed over since the board's begin
        self._heard_us = board.now_us() - silence_us - 1
        self._status_us = board.now_us()
        self._say(f"BOOT {board.boot} {FIRMWARE}")

    def poll(self) -> None:
        """Take what the host said, keep the outputs fed, say what happened."""
        board = self._board
        for text in self._reader.feed(board.read()):
            self._heard_us = board.now_us() if text else self._heard_us
            self._say("ERR crc") if text is None else self._obey(text)
        now_us = board.now_us()
        present = now_us - self._heard_us <= self._silence_us
        if self._state == "running":
            if present:
                self._keep_pulsing(now_us)
            else:
                self._stop("silent")
        for number, at_us in board.edges():
            if present:
                self._say(f"C {self._run} {number} {at_us}")
        if now_us >= self._status_us:
            self._status_us += (1 + (now_us - self._status_us) // STATUS_EVERY_US) * STATUS_EVERY_US
            if present:
                self._say_status()
        while self._out and board.write(self._out[0]):
            self._out.pop(0)

    # --- commands ----------------------------------------------------------------------------------------------------
    def _obey(self, text: str) -> None:
        words = text.split(" ")
        command, rest = words[0], words[1:]
        try:
            if command == "PING":
                nonce = _number(rest[0])
                self._say(f"PONG {nonce} {self._board.now_us()}")
                return
            if command == "ID?":
                self._say(f"BOOT {self._board.boot} {FIRMWARE}")
            elif command == "CFG":
                self._configure(_fields(rest))
            elif command == "START":
                self._start(text, _fields(rest))
            elif command == "STOP":
                self._stop("stopped")
            elif command == "STATUS?":
                self._say_status()
            else:
                self._say("ERR command")
                return
        except (ValueError, KeyError, IndexError):
            self._say("ERR argument")
        except _RefusedError as refusal:
            self._say(f"ERR {refusal.args[0]}")
        else:
            self._say(f"OK {command}")

    def _configure(self, fields: "dict[str, str]") -> None:
        if self._state == "running":
            raise _RefusedError("busy")
        values = {name: _number(fields[name]) for name in LIMITS}
        for name in LIMITS:
            if not LIMITS[name][0] <= values[name] <= LIMITS[name][1]:
                raise ValueError(name)
        self._widths = (values["radar_us"], values["cam_us"], values["cam_delay_us"])

    def _start(self, text: str, fields: "dict[str, str]") -> None:
        rate_mhz = parse_rate_mhz(fields["hz"])
        pulses, run, signature = _number(fields["n"]), _number(fields["run"]), _number(fields["sig"])
        period_us = 1_000_000_000 // max(rate_mhz, 1)
        if not SLOWEST_MHZ <= rate_mhz <= FASTEST_MHZ or not 0 < pulses < 1 << 32 or not 0 < run < 1 << 32:
            raise ValueError("START")
        if signature not in (0, 1) or self._widths[1] + self._widths[2] + 10 > period_us:
            raise ValueError("START")
        if text == self._order:
            return  # said again because our OK was lost
        if self._state == "running":
            raise _RefusedError("busy")
        if run == self._run:
            raise _RefusedError("run")
        self._order, self._run = text, run
        self._sent = self._late = 0
        self._schedule = Schedule(self._board.now_us() + FIRST_PULSE_US, rate_mhz, pulses, bool(signature))
        self._state = "running"
        self._begin(0)

    # --- pulses ------------------------------------------------------------------------------------------------------
    def _begin(self, number: int) -> None:
        """Set the outputs going from pulse `number` on, or from the first one after it that can be on time."""
        schedule, board = self._schedule, self._board
        while True:
            self._next = schedule.following(number)
            self._waiting, self._reported = [], 0
            while self._next < schedule.pulses and len(self._waiting) < 4:
                self._waiting.append((self._next, schedule.at_us(self._next)))
                self._next = schedule.following(self._next + 1)
            if not self._waiting or board.begin(*self._widths, self._waiting):
                return
            self._late += 1
            number = self._waiting[0][0] + 1

    def _keep_pulsing(self, now_us: int) -> None:
        schedule, board = self._schedule, self._board
        pushed = False
        while self._next < schedule.pulses and board.room() > 0:
            at_us = schedule.at_us(self._next)
            board.push(self._next, at_us)
            self._waiting.append((self._next, at_us))
            self._next = schedule.following(self._next + 1)
            pushed = True
        # Asked after pushing: an output that ran dry just before has not used the new word yet, whose wait is most of a period.
        if pushed and board.starved():
            self._report(board.halt() - self._reported)
            now_us = board.now_us()
            number = self._waiting[0][0] if self._waiting else self._next
            while number < schedule.pulses and schedule.at_us(number) < now_us + RESUME_US:
                self._late += 1
                number = schedule.following(number + 1)
            self._begin(number)
        due = 0
        while due < len(self._waiting) and self._waiting[due][1] <= now_us:
            due += 1
        self._report(due)
        end_us = schedule.at_us(schedule.pulses - 1) + self._widths[1] + self._widths[2] + 1000
        if self._next >= schedule.pulses and not self._waiting and now_us > end_us:
            self._stop("done")

    def _report(self, count: int) -> None:
        """Say that the first `count` of the waiting pulses have been."""
        for number, at_us in self._waiting[: max(count, 0)]:
            self._say(f"P {self._run} {number} {at_us}")
            self._sent += 1
            self._reported += 1
        self._waiting = self._waiting[max(count, 0) :]

    def _stop(self, state: str) -> None:
        if self._state != "running":
            return
        begun = self._board.halt()
        self._report(begun - self._reported)
        self._late += max(self._reported - begun, 0)  # said, but the output had not got so far
        self._waiting = []
        self._state = state
        self._say_status()

    # --- lines -------------------------------------------------------------------------------------------------------
    def _say_status(self) -> None:
        self._say(f"S {self._run} {self._sent} {self._late} {self._state}")

    def _say(self, text: str) -> None:
        if len(self._out) < LONGEST_QUEUE:
            self._out.append(frame(text))


class _RefusedError(Exception):
    """A command that is understood and may not be obeyed; its argument is the code."""


def _number(text: str) -> int:
    """Decimal digits and nothing else; ValueError otherwise (what int() takes besides differs between Pythons)."""
    if not text.isdigit():
        raise ValueError(text)
    return int(text)


def _fields(words: "list[str]") -> "dict[str, str]":
    """`name=value` words; ValueError for a word that is none."""
    fields = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals:
            raise ValueError(word)
        fields[name] = value
    return fields
