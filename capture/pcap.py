"""A DCA1000 session in a packet capture, looked over in one pass: its recordings, its senders, what the card said.

A capture may hold several recordings (each RECORD_START begins the sequence again), other senders on the data port, and the
card's replies and asynchronous status on the configuration port. Nothing is kept in memory but counts.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from pathlib import Path

from capture.dca1000_wire import (
    CARD_IP,
    CONFIG_PORT,
    DATA_HEADER_BYTES,
    DATA_PORT,
    EVENT_BITS,
    REPLY_BYTES,
    CommandCode,
    Reply,
    decode_reply,
    decode_version,
    describe_status,
    ipv4_bytes,
    status_bits,
)
from capture.pcap_file import CaptureFile
from capture.pcap_sessions import LATE_PACKETS, SessionSplitter
from capture.udp_frames import Datagram, DatagramRun, UdpFrames
from pipeline.errors import PipelineError


@dataclass(frozen=True)
class CardReply:
    """A reply or asynchronous status of the card and when it was captured."""

    time_ns: int
    reply: Reply

    @property
    def reports_fault(self) -> bool:
        """Whether a command failed or a status bit tells of a fault."""
        code, status = self.reply
        if code is CommandCode.SYSTEM_ERROR:
            return any(bit not in EVENT_BITS for bit in status_bits(status))
        return status != 0 and code is not CommandCode.READ_FPGA_VERSION

    def __str__(self) -> str:
        code, status = self.reply
        if code is CommandCode.SYSTEM_ERROR and status:
            return "; ".join(describe_status(status))
        if code is CommandCode.READ_FPGA_VERSION:
            return f"READ_FPGA_VERSION: {decode_version(status)}"
        return f"{code.name}: {'done' if status == 0 else f'failed (status {status})'}"


@dataclass
class CaptureSession:
    """One recording in a capture, `number` counting from 1; byte counts are the card's."""

    number: int
    packets: int = 0
    payload_bytes: int = 0
    first_count: int = 0  # least byte count seen
    from_start: bool = True  # False: the capture begins in the middle of the stream
    last_count: int = 0  # byte count after the furthest packet
    start_ns: int = 0
    stop_ns: int = 0
    cut_packets: int = 0  # the capture's snap length cut their end off

    @property
    def seconds(self) -> float:
        return (self.stop_ns - self.start_ns) / 1e9

    def __str__(self) -> str:
        return f"recording {self.number}: {self.packets} packets, {self.payload_bytes} bytes in {self.seconds:.1f} s"


@dataclass
class CaptureSurvey:
    """What a capture holds. `senders` counts the datagrams on the data port by address."""

    path: Path
    data_port: int
    config_port: int
    card: str = ""
    sessions: list[CaptureSession] = field(default_factory=list)
    senders: dict[str, int] = field(default_factory=dict)
    replies: list[CardReply] = field(default_factory=list)
    simulated: bool = False  # the card's hardware address says so
    cut_datagrams: int = 0  # on the data port, their end cut off by the capture's snap length
    other_ports: Counter[int] = field(default_factory=Counter)  # destination ports of every other UDP datagram
    other_frames: int = 0
    lost_fragments: int = 0
    cut_bytes: int = 0  # of an incomplete record at the end of the file

    def session(self, number: int | None = None) -> CaptureSession:
        """Recording `number`, or the only one; PipelineError where there is none, or several and none was named."""
        if number is not None:
            for session in self.sessions:
                if session.number == number:
                    return session
            raise PipelineError(f"{self.path.name} holds {len(self.sessions)} recordings; there is no number {number}.")
        if len(self.sessions) > 1:
            listed = "; ".join(map(str, self.sessions))
            raise PipelineError(
                f"{self.path.name} holds {len(self.sessions)} recordings ({listed}); name one with --session NUMBER."
            )
        return self.sessions[0]


# A simulated card's MAC address begins so: locally administered, then "SIM". Captures written from simulated recordings
# carry it, so that nothing simulated comes back as real.
SIMULATED_MAC = b"\x02SIM"


def survey_capture(
    path: Path, *, card_ip: str | None = None, data_port: int = DATA_PORT, config_port: int = CONFIG_PORT
) -> CaptureSurvey:
    """Look a whole capture over: its recordings, senders and the card's replies.

    The card is `card_ip`, else the address that sends most packets whose byte counts add up. A capture with replies but no data
    is a survey without sessions. PipelineError when the file is no capture or `card_ip` sends nothing in it.
    """
    survey = CaptureSurvey(path, data_port, config_port)
    flows: dict[bytes, _Flow] = {}
    replies: dict[bytes, list[CardReply]] = {}
    for datagram in datagrams_of(survey):
        if isinstance(datagram, DatagramRun):
            if datagram.first.port == data_port:
                flows.setdefault(datagram.first.source, _Flow()).run(datagram)
            else:
                survey.other_ports[datagram.first.port] += len(datagram.times_ns)
        elif datagram.port == data_port:
            flows.setdefault(datagram.source, _Flow()).packet(datagram)
            survey.cut_datagrams += datagram.cut > 0
        elif reply := reply_in(datagram, config_port):
            replies.setdefault(datagram.source, []).append(reply)
            if said_record_start(reply):
                flows.setdefault(datagram.source, _Flow()).splitter.record_started()
        else:
            survey.other_ports[datagram.port] += 1
    flows = {source: flow for source, flow in flows.items() if flow.datagrams}
    survey.senders = {str(IPv4Address(source)): flow.datagrams for source, flow in flows.items()}
    card = ipv4_bytes(card_ip) if card_ip else _likely_card(flows, replies)
    if card_ip and card not in flows and card not in replies:
        heard = ", ".join(sorted({*survey.senders, *(str(IPv4Address(s)) for s in replies)})) or "nobody"
        raise PipelineError(
            f"{path.name} holds nothing from {card_ip} on ports {data_port} and {config_port}, only from {heard}."
        )
    if card:
        survey.card = str(IPv4Address(card))
        survey.replies = replies.get(card, [])
        if card in flows and (card_ip or flows[card].adds_up):
            survey.sessions, survey.simulated = flows[card].sessions, flows[card].simulated
    return survey


def require_data(survey: CaptureSurvey) -> None:
    """PipelineError with what the capture holds instead, when it holds no DCA1000 data."""
    name, port = survey.path.name, survey.data_port
    total = sum(survey.senders.values())
    if 2 * survey.cut_datagrams > total:
        raise PipelineError(
            f"The capture's snap length cut {survey.cut_datagrams} of the {total} data packets in {name}, so their samples are "
            "not in it; capture again with whole packets (tcpdump -s 0)."
        )
    if survey.sessions:
        return
    if survey.senders:
        raise PipelineError(
            f"The {total} datagrams on UDP port {port} of {name} (from {', '.join(survey.senders)}) are no DCA1000 data: their "
            "byte counts do not add up; name the card with --card-ip if it sends in between."
        )
    if survey.replies:
        raise PipelineError(
            f"{name} holds {len(survey.replies)} replies of the card but no data on UDP port {port}; capture during a recording."
        )
    ports = ", ".join(f"{number} ({count})" for number, count in survey.other_ports.most_common(3))
    seen = f"UDP went to ports {ports}" if ports else f"its {survey.other_frames} frames are not UDP over IPv4"
    raise PipelineError(
        f"{name} holds no DCA1000 data: nothing was sent to UDP port {port}; {seen}. Name another port with --data-port."
    )


# --- datagrams -------------------------------------------------------------------------------------------------------


def datagrams_of(survey: CaptureSurvey) -> Iterator[Datagram | DatagramRun]:
    """Every UDP datagram of the capture; the survey's counts of what else it holds are right once it is exhausted.

    Runs never hold replies, so that who looks for those need not look into them.
    """
    file = CaptureFile(survey.path)
    frames = UdpFrames(file)
    for piece in frames.pieces():
        if isinstance(piece, DatagramRun) and piece.first.port == survey.config_port:
            yield from piece.datagrams()
        else:
            yield piece
    survey.other_frames = frames.other_frames + frames.unknown_link_frames
    survey.lost_fragments = frames.lost_fragments
    survey.cut_bytes = file.cut_bytes


def reply_in(datagram: Datagram, config_port: int) -> CardReply | None:
    """The reply in a datagram; a command without data looks the same, so only the sender tells them apart."""
    if datagram.port != config_port or len(datagram.payload) != REPLY_BYTES:
        return None
    try:
        return CardReply(datagram.time_ns, decode_reply(datagram.payload))
    except PipelineError:
        return None


def said_record_start(reply: CardReply | None) -> bool:
    """Whether the card says that it began a recording."""
    return reply is not None and reply.reply == (CommandCode.RECORD_START, 0)


def _likely_card(flows: dict[bytes, "_Flow"], replies: dict[bytes, list[CardReply]]) -> bytes | None:
    if flows:
        return max(flows, key=lambda source: (flows[source].steps_right, flows[source].datagrams))
    known = ipv4_bytes(CARD_IP)
    if known in replies:
        return known
    return max(replies, key=lambda source: len(replies[source])) if replies else None


class _Flow:
    """The data packets of one sender."""

    def __init__(self) -> None:
        self.splitter = SessionSplitter()
        self.sessions: list[CaptureSession] = []
        self.datagrams = 0
        self.steps = self.steps_right = 0
        self.simulated = False
        self._next: int | None = None

    @property
    def adds_up(self) -> bool:
        """Whether the byte counts are those of a card: each the last one plus the last payload, but for losses."""
        return bool(self.sessions) and 2 * self.steps_right >= self.steps

    def run(self, run: DatagramRun) -> None:
        """Take packets of one length that follow one another in the capture."""
        self.packet(run.first)
        if not self.splitter.place_rest(run):
            for number, datagram in enumerate(run.datagrams()):
                if number:
                    self.packet(datagram)
            return
        packets, length = len(run.payloads) - 1, run.payloads.shape[1] - DATA_HEADER_BYTES
        session = self.sessions[-1]
        self.datagrams += packets
        self.steps += packets
        self.steps_right += packets
        session.packets += packets
        session.payload_bytes += packets * length
        session.last_count += packets * length
        session.start_ns = min(session.start_ns, int(run.times_ns.min()))
        session.stop_ns = max(session.stop_ns, int(run.times_ns.max()))
        self._next = session.last_count

    def packet(self, datagram: Datagram) -> None:
        """Take one packet."""
        self.datagrams += 1
        self.simulated |= datagram.hardware_source.startswith(SIMULATED_MAC)
        place = self.splitter.place(datagram)
        if place is None:
            self.steps += 1
            return
        sequence, count = place
        length = len(datagram.payload) - DATA_HEADER_BYTES
        if not self.sessions or self.sessions[-1].number != self.splitter.number:
            self.sessions.append(
                CaptureSession(
                    self.splitter.number,
                    first_count=count,
                    from_start=self.splitter.told,
                    last_count=count,
                    start_ns=datagram.time_ns,
                )
            )
            self._next = None
        session = self.sessions[-1]
        if self._next is not None:
            self.steps += 1
            self.steps_right += count == self._next
        self._next = count + length + datagram.cut
        session.packets += 1
        session.from_start |= sequence <= LATE_PACKETS
        session.payload_bytes += length
        session.first_count = min(session.first_count, count)
        session.last_count = max(session.last_count, count + length)
        session.start_ns = min(session.start_ns, datagram.time_ns)
        session.stop_ns = max(session.stop_ns, datagram.time_ns)
        session.cut_packets += datagram.cut > 0
