"""The cable between the simulated camera, which runs in the recorder's reach, and the rig: datagrams on the loopback.

The camera sends one for each exposure of its depth sensor, `<true time, s>`, as its sync-out pin would pulse. The answer,
`zero <true time, s>` or `zero none`, stands for what a camera sees anyway: when the scene before both of them began.
"""

import contextlib
import socket
import threading
from collections.abc import Callable

_POLL_S = 0.1


class CableEnd:
    """The rig's end, served by a thread while the context lasts. `port` is where the camera's end sends to."""

    def __init__(self, on_edge: Callable[[float], None], scene_zero_s: Callable[[], float | None]) -> None:
        self._on_edge, self._scene_zero_s = on_edge, scene_zero_s
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.settimeout(_POLL_S)
        self.port = int(self._socket.getsockname()[1])
        self._closed = False
        self._thread = threading.Thread(target=self._serve, name="sync-cable", daemon=True)

    def __enter__(self) -> "CableEnd":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed = True
        self._thread.join()
        self._socket.close()

    def _serve(self) -> None:
        while not self._closed:
            with contextlib.suppress(TimeoutError, ValueError, ConnectionError):
                data, sender = self._socket.recvfrom(64)
                self._on_edge(float(data))
                zero_s = self._scene_zero_s()
                self._socket.sendto(f"zero {'none' if zero_s is None else repr(zero_s)}".encode(), sender)
