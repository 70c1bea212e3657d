"""A session with the trigger board's protocol in scripted time, printed line by line: by MicroPython and CPython the same.

Run with the firmware's folder on the module path, as the files lie on the board.
"""

# ruff: noqa: T201, UP031
from lines import LineReader, crc16, frame, unframe
from protocol import Board, Protocol
from schedule import (
    FIFO_WORDS,
    Schedule,
    begun,
    extend,
    first_word,
    left_out,
    next_word,
    parse_rate_mhz,
    read_64,
    width_word,
)


class ScriptedBoard(Board):
    """A board whose clock the script moves, with a state machine's FIFO; it can be made to run dry and to send nothing."""

    boot = 3_405_691_582

    def __init__(self, start_us):
        self.clock_us = start_us
        self.heard = b""
        self.said = []
        self.seen_edges = []
        self.pushed = []
        self.dry = False
        self.full = False
        self.late_begins = 0

    def now_us(self):
        return self.clock_us

    def read(self):
        data, self.heard = self.heard, b""
        return data

    def write(self, data):
        if self.full:
            return False
        self.said.append(data)
        return True

    def edges(self):
        found, self.seen_edges = self.seen_edges, []
        return found

    def begin(self, radar_us, camera_us, delay_us, pulses):
        print("begin", radar_us, camera_us, delay_us, pulses)
        if self.late_begins:
            self.late_begins -= 1
            return False
        self.pushed = [at_us for _, at_us in pulses]
        return True

    def room(self):
        return FIFO_WORDS - len([at_us for at_us in self.pushed if at_us > self.clock_us])

    def push(self, number, at_us):
        self.pushed.append(at_us)

    def starved(self):
        dry, self.dry = self.dry, False
        return dry

    def halt(self):
        count = len([at_us for at_us in self.pushed if at_us <= self.clock_us])
        print("halt", count)
        self.pushed = []
        return count


def run(board, protocol, microseconds, step_us=20_000, ping=True):
    """Let time pass, the host saying something every second."""
    end_us = board.clock_us + microseconds
    while board.clock_us < end_us:
        if ping and board.clock_us % 1_000_000 < step_us:
            board.heard += frame("PING 7")
        protocol.poll()
        board.clock_us += step_us
    show(board)


def show(board):
    for data in board.said:
        print(data)
    board.said = []


def say(board, protocol, *texts):
    for text in texts:
        print(">", text)
        board.heard += frame(text)
        protocol.poll()
        show(board)


def lines():
    print("%04X" % crc16(b"123456789"), "%04X" % crc16(b""), "%04X" % crc16(bytes(range(256))))
    print(frame("START hz=10 n=600 run=1 sig=1"))
    for line in (
        b"",
        b"*",
        b"A*0000",
        frame("A")[:-1],
        frame("A")[:-1].lower(),
        b"A" * 200,
        b"\xff\xfe*29B1",
        b"*FFFF",
        b"A*B915",
    ):
        print(line[:20], unframe(line))
    reader = LineReader()
    whole = (
        frame("ID?")
        + b"noise\xff\n"
        + frame("STOP")[:-1]
        + b"\r\n\n\r\n"
        + b"x" * 500
        + b"\n"
        + frame("PING 1")
        + b"PI"
    )
    for size in (1, 7, len(whole)):
        got = []
        for at in range(0, len(whole), size):
            got += reader.feed(whole[at : at + size])
        print(size, got, reader.rejected, reader.last_rejected[:10])
        reader.feed(b"\n")


def numbers():
    print([k for k in range(1000) if left_out(k, 10_000)], [k for k in range(200) if left_out(k, 1_000)])
    print([k for k in range(3000) if left_out(k, 29_970)], [k for k in range(60) if left_out(k, 500)])
    for text in ("10", "9.5", "29.97", "0.001", "0.0001", "", "-1", "1e3", "1.", ".5", "1_0", " 1"):
        try:
            print(text, parse_rate_mhz(text))
        except ValueError:
            print(text, "no rate")
    schedule = Schedule((1 << 40) + 5, 29_970, 20, True)
    print(
        [schedule.at_us(k) - (1 << 40) for k in range(8)], [schedule.following(k) for k in (0, 4, 5, 6, 7, 18, 20, 99)]
    )
    print(width_word(2), first_word(1 << 33, (1 << 33) + 100_000), next_word(0, 100_000, 150))
    print([begun(5, 2, counter, high) for counter in range(7) for high in (False, True)], begun(4, 5, 0, False))
    print(extend(1 << 41, (1 << 30) - 5, 30) - (1 << 41), extend((1 << 41) + 9, 9, 30) - (1 << 41))
    highs, lows = [4, 5, 5, 5], [0xFFFFFFFF, 3]
    print(read_64(lambda: highs.pop(0), lambda: lows.pop(0)))


def session():
    board = ScriptedBoard((1 << 32) - 2_000_000)  # its low word overflows in the run
    protocol = Protocol(board)
    protocol.poll()
    show(board)
    say(board, protocol, "ID?", "STATUS?", "PING 4294967295", "STOP")
    say(
        board,
        protocol,
        "CFG radar_us=3 cam_us=200 cam_delay_us=5000",
        "CFG radar_us=9 cam_us=200 cam_delay_us=0",
        "CFG radar_us=3",
    )
    say(
        board,
        protocol,
        "JUMP",
        "PING",
        "PING x",
        "PING -1",
        "START",
        "START hz=10 run=1 sig=1",
        "START hz=10 n=0 run=1 sig=1",
    )
    say(
        board,
        protocol,
        "START hz=300 n=5 run=1 sig=1",
        "START hz=199.5 n=5 run=1 sig=1",
        "START hz=10 n=5 run=0 sig=1",
        "START hz=10 n=5 run=1 sig=2",
    )
    say(
        board,
        protocol,
        "START hz=10 n=30 run=7 sig=1",
        "START hz=10 n=30 run=7 sig=1",
        "START hz=10 n=30 run=8 sig=1",
        "CFG radar_us=2 cam_us=150 cam_delay_us=0",
    )
    board.seen_edges = [(0, board.clock_us - 40), (1, board.clock_us)]
    run(board, protocol, 1_000_000)
    board.heard = b"\x00\xff noise\n" + frame("PING 8")[:-3] + b"\n"
    run(board, protocol, 3_000_000)
    say(board, protocol, "START hz=10 n=30 run=7 sig=1", "START hz=10 n=31 run=7 sig=1", "STATUS?")
    board.late_begins = 1
    say(board, protocol, "START hz=29.97 n=4000000000 run=4294967295 sig=0")
    run(board, protocol, 200_000)
    board.dry = True  # the loop was away for longer than the FIFO lasts
    board.clock_us += 700_000
    run(board, protocol, 300_000)
    say(board, protocol, "STOP", "STOP", "STATUS?")
    say(board, protocol, "START hz=2 n=100 run=9 sig=1")
    run(board, protocol, 9_000_000, 100_000, ping=False)  # the host is gone
    board.seen_edges = [(2, board.clock_us)]
    protocol.poll()
    show(board)
    say(board, protocol, "STATUS?")
    say(board, protocol, "START hz=100 n=5000 run=10 sig=1")
    board.full = True  # the host does not read
    run(board, protocol, 2_000_000)
    board.full = False
    run(board, protocol, 100_000)


lines()
numbers()
session()
