"""Lines between host and trigger board: `TEXT*CRC` and a newline, the same at both ends of the wire.

TEXT is printable ASCII without `*`; CRC is four upper-case hex digits, CRC-16/CCITT-FALSE of TEXT's bytes: polynomial 0x1021,
start 0xFFFF, most significant bit first, nothing inverted (its check value over "123456789" is 29B1). Whatever comes between two
newlines and is no such line is rejected whole. Plain Python that MicroPython and CPython run alike.
"""

LONGEST = 120  # of a line without its newline

# fmt: off
_NIBBLES = (  # the polynomial over every half byte: bit by bit a board without a cache would spend milliseconds on a line
    0x0000, 0x1021, 0x2042, 0x3063, 0x4084, 0x50A5, 0x60C6, 0x70E7,
    0x8108, 0x9129, 0xA14A, 0xB16B, 0xC18C, 0xD1AD, 0xE1CE, 0xF1EF,
)
# fmt: on


def crc16(data: bytes) -> int:
    """CRC-16/CCITT-FALSE of `data`."""
    crc = 0xFFFF
    for byte in data:
        crc = (crc << 4 & 0xFFFF) ^ _NIBBLES[crc >> 12 ^ byte >> 4]
        crc = (crc << 4 & 0xFFFF) ^ _NIBBLES[crc >> 12 ^ byte & 15]
    return crc


def frame(text: str) -> bytes:
    """`text` as it goes over the wire."""
    data = text.encode()
    return data + b"*%04X\n" % crc16(data)


def unframe(line: bytes) -> "str | None":
    """The text of a line without its newline; None where it is no whole, unharmed line."""
    if len(line) < 6 or len(line) > LONGEST or line[-5] != 42:  # 42 is the star
        return None
    data = line[:-5]
    for byte in line:
        if byte < 32 or byte > 126:
            return None
    if line[-4:] != b"%04X" % crc16(data):
        return None
    return data.decode()


class LineReader:
    """Cuts what comes over the wire into texts, and finds its feet again at every newline.

    `rejected` counts lines that were none, `last_rejected` is the newest of them.
    """

    def __init__(self) -> None:
        self.rejected = 0
        self.last_rejected = b""
        self._held = b""
        self._too_long = False

    def feed(self, data: bytes) -> "list[str | None]":
        """The texts that `data` completes, in order; None for each line that is rejected. Empty lines are nothing."""
        self._held += data
        texts = []
        while True:
            end = self._held.find(b"\n")
            if end < 0:
                break
            line = self._held[:end].rstrip(b"\r")
            self._held = self._held[end + 1 :]
            text = None if self._too_long else unframe(line)
            if text is None and (line or self._too_long):
                self.rejected += 1
                self.last_rejected = line
            if text is not None or line or self._too_long:
                texts.append(text)
            self._too_long = False
        if len(self._held) > LONGEST:
            self.last_rejected = self._held[:LONGEST]
            self._held = b""
            self._too_long = True
        return texts
