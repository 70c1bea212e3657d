"""The trigger board's entry: MicroPython runs this file at power-up. Ctrl-C ends it and leaves the prompt that mpremote needs."""

from board_rp2040 import RP2040Board
from protocol import Protocol


def main() -> None:
    """Serve the host for ever; whatever ends it, the outputs go low."""
    board = RP2040Board()
    try:
        protocol = Protocol(board)
        while True:
            protocol.poll()
    finally:
        board.halt()


if __name__ == "__main__":
    main()
