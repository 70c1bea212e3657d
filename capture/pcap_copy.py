"""One recording of a surveyed packet capture, written as `adc.bin` and `packets.bin` in a stream."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from capture.dca1000_wire import DATA_HEADER_BYTES, ipv4_bytes
from capture.pcap import CaptureSession, CaptureSurvey, datagrams_of, reply_in, said_record_start
from capture.pcap_sessions import SessionSplitter
from capture.stream_placer import StreamPlacer
from capture.udp_frames import Datagram, DatagramRun

_MINUTE_NS = 60_000_000_000


def session_packets(
    survey: CaptureSurvey, session: CaptureSession
) -> Iterator[tuple[Datagram | DatagramRun, tuple[int, int] | None]]:
    """The card's datagrams of one recording in the order they were captured, each with its sequence and byte count.

    Both counters are unwrapped; None stands for a datagram that is no data packet of this stream. Packets that carry on from one
    another may come as a run; the counters are then its first one's.
    """
    card, splitter = ipv4_bytes(survey.card), SessionSplitter()
    for piece in datagrams_of(CaptureSurvey(survey.path, survey.data_port, survey.config_port)):
        first = piece.first if isinstance(piece, DatagramRun) else piece
        if first.source != card:
            continue
        if first.port != survey.data_port:
            if isinstance(piece, Datagram) and said_record_start(reply_in(piece, survey.config_port)):
                splitter.record_started()
            continue
        place = splitter.place(first)
        if isinstance(piece, Datagram) or splitter.place_rest(piece):
            if splitter.number == session.number:
                yield piece, place
            continue
        for number, datagram in enumerate(piece.datagrams()):
            place = splitter.place(datagram) if number else place
            if splitter.number == session.number:
                yield datagram, place


@dataclass(frozen=True)
class CopyResult:
    """What `copy_session` wrote: counters for the manifest, and sentences a reader must know."""

    counters: dict[str, int | float]
    notes: tuple[str, ...]


def copy_session(survey: CaptureSurvey, session: CaptureSession, folder: Path, *, frame_bytes: int) -> CopyResult:
    """Write `adc.bin` and `packets.bin` of one recording of a capture into `folder`.

    A capture that begins in the middle of the stream keeps the card's frame grid: `adc.bin` starts at the frame its first
    packet lies in. Packet times are the capture's, in both clocks.
    """
    base = 0 if session.from_start else session.first_count // frame_bytes * frame_bytes
    malformed = cut_packets = cut_bytes = 0
    with StreamPlacer(folder) as placer:
        for datagram, place in session_packets(survey, session):
            if place is None:
                malformed += 1
                continue
            sequence, count = place
            if isinstance(datagram, DatagramRun):
                placer.place_run(count - base, datagram.payloads[:, DATA_HEADER_BYTES:], sequence, datagram.times_ns)
                continue
            cut_packets += datagram.cut > 0
            cut_bytes += datagram.cut
            placer.place(count - base, datagram.payload[DATA_HEADER_BYTES:], sequence, datagram.time_ns)
    counters: dict[str, int | float] = {
        **vars(placer.counters),
        "foreign": sum(survey.senders.values()) - survey.senders[survey.card],
        "malformed": malformed,
        "cut_packets": cut_packets,
        "cut_bytes": cut_bytes,
        "lost_fragments": survey.lost_fragments,
        "seconds": session.seconds,
    }
    return CopyResult(counters, tuple(_copy_notes(survey, session, counters, base, frame_bytes)))


def _copy_notes(
    survey: CaptureSurvey, session: CaptureSession, counters: dict[str, int | float], base: int, frame_bytes: int
) -> Iterator[str]:
    name = survey.path.name
    if len(survey.sessions) > 1:
        yield f"{name} holds {len(survey.sessions)} recordings; this is number {session.number}."
    if not session.from_start:
        yield (
            f"The capture begins at byte {session.first_count} of the card's stream: adc.bin starts with frame "
            f"{base // frame_bytes} of the recording, of which {session.first_count - base} bytes are missing."
        )
    if counters["foreign"]:
        others = ", ".join(sender for sender in survey.senders if sender != survey.card)
        yield f"{counters['foreign']} datagrams on the data port came from {others}, not from the card, and were left out."
    if counters["cut_packets"]:
        yield (
            f"The capture's snap length cut {counters['cut_bytes']} bytes off {counters['cut_packets']} packets; they count as "
            "missing. Capture whole packets (tcpdump -s 0)."
        )
    if counters["lost_fragments"]:
        yield f"{counters['lost_fragments']} IP fragments had no counterpart; what they carried counts as missing."
    if counters["conflicting"]:
        yield f"{counters['conflicting']} packets contradicted bytes that were there already and were left out."
    if survey.cut_bytes:
        yield f"{name} ends in the middle of a packet ({survey.cut_bytes} bytes); the capture program was stopped short."
    for reply in survey.replies:
        if reply.reports_fault and session.start_ns - _MINUTE_NS <= reply.time_ns <= session.stop_ns + _MINUTE_NS:
            yield f"The card said: {reply}."
