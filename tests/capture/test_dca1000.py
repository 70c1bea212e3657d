"""The card protocol: bytes against TI's guide and real replies; the client against a responder on a real UDP socket."""

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import dpkt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from capture.dca1000 import (
    BYTE_COUNT_SPAN,
    SEQUENCE_SPAN,
    CardClient,
    CardStatus,
    CommandCode,
    EepromConfig,
    FpgaConfig,
    PacketConfig,
    StatusBit,
    Version,
    decode_command,
    decode_data_header,
    decode_reply,
    decode_version,
    describe_status,
    encode_command,
    encode_data_header,
    encode_reply,
    encode_status,
    encode_version,
    status_bits,
)
from pipeline.errors import PipelineError

CARD, HOST, STRANGER = "127.0.0.1", "127.0.0.1", "127.0.0.2"
Answer = Callable[["Responder", CommandCode, bytes], None]


class Responder:
    """The card's end of the configuration port: `answer` is called for every command, with the asker's address kept."""

    def __init__(self, answer: Answer) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((CARD, 0))
        self.socket.settimeout(0.05)
        self.seen: list[tuple[CommandCode, bytes]] = []
        self.asker: tuple[str, int] = ("", 0)
        self._answer = answer
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    @property
    def port(self) -> int:
        return self.socket.getsockname()[1]

    def send(self, datagram: bytes, *, source: str = CARD) -> None:
        """From a socket of its own, so that the source port is not the configuration port - as with a real card."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            other.bind((source, 0))
            other.sendto(datagram, self.asker)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                datagram, self.asker = self.socket.recvfrom(2048)
            except TimeoutError:
                continue
            self.seen.append(decode_command(datagram))
            self._answer(self, *self.seen[-1])

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        self.socket.close()


@contextmanager
def card(answer: Answer, **options) -> Iterator[tuple[Responder, CardClient]]:
    responder = Responder(answer)
    try:
        with CardClient(
            CARD, HOST, responder.port, host_port=0, **{"timeout_s": 0.3, "retries": 1, **options}
        ) as client:
            yield responder, client
    finally:
        responder.close()


def done(responder: Responder, code: CommandCode, _data: bytes) -> None:
    responder.send(encode_reply(code))


# --- bytes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (encode_command(CommandCode.SYSTEM_CONNECT), "5aa5 0900 0000 aaee"),
        (encode_command(CommandCode.RECORD_START), "5aa5 0500 0000 aaee"),
        (encode_command(CommandCode.CONFIG_FPGA_GEN, FpgaConfig().encode()), "5aa5 0300 0600 01020102031e aaee"),
        (
            encode_command(CommandCode.CONFIG_FPGA_GEN, FpgaConfig(lanes="four").encode()),
            "5aa5 0300 0600 01010102031e aaee",  # what xWR1443 users send
        ),
        (
            encode_command(CommandCode.CONFIG_PACKET_DATA, PacketConfig(packet_size=1472, delay_us=20).encode()),
            "5aa5 0b00 0600 c005 c409 0000 aaee",  # the datagram many published tools carry as a constant
        ),
        (PacketConfig(packet_size=1470, delay_us=5).encode(), "be05 7102 0000"),
        (
            EepromConfig(card_mac="12-34-56-78-90-AB").encode(),
            "1e21a8c0 b421a8c0 ab9078563412 0010 0210",
        ),
        (encode_status(0x0100), "5aa5 0a00 0001 aaee"),
        (encode_data_header(1, 0), "01000000 000000000000"),
        (encode_data_header(SEQUENCE_SPAN + 2, BYTE_COUNT_SPAN + 0x0102030405), "02000000 050403020100"),
    ],
)
def test_exact_bytes(made: bytes, expected: str) -> None:
    assert made.hex() == expected.replace(" ", "")


def test_replies_of_a_real_card(shared_data: Path) -> None:
    with (shared_data / "iwr1843_dca1000_pcap" / "test_cmd.pcap").open("rb") as file:
        replies = [decode_reply(dpkt.ethernet.Ethernet(frame).data.data.data) for _, frame in dpkt.pcap.Reader(file)]
    assert sorted(code for code, _ in replies) == [1, 2, 3, 4, 5, 6, 9, 10, 11, 14]
    version = next(status for code, status in replies if code == CommandCode.READ_FPGA_VERSION)
    assert decode_version(version) == Version(2, 8, False)
    assert str(decode_version(version)) == "2.8"


def test_data_packets_of_a_real_card(shared_data: Path) -> None:
    with (shared_data / "iwr1843_dca1000_pcap" / "test_one_frame.pcap").open("rb") as file:
        datagrams = [dpkt.ethernet.Ethernet(frame).data.data for _, frame in dpkt.pcap.Reader(file)]
    headers = [(*decode_data_header(udp.data), len(udp.data) - 10) for udp in datagrams if udp.dport == 4098]
    assert headers == [(n + 1, n * 1456, 1456 if n < 11 else 368) for n in range(12)]


@given(st.sampled_from(CommandCode), st.binary(max_size=64))
def test_command_round_trip(code: CommandCode, data: bytes) -> None:
    assert decode_command(encode_command(code, data)) == (code, data)


@given(st.sampled_from(CommandCode), st.integers(0, 0xFFFF))
def test_reply_round_trip(code: CommandCode, status: int) -> None:
    assert decode_reply(encode_reply(code, status)) == (code, status)


@given(st.integers(0, SEQUENCE_SPAN - 1), st.integers(0, BYTE_COUNT_SPAN - 1), st.binary(max_size=16))
def test_data_header_round_trip(sequence: int, count: int, payload: bytes) -> None:
    assert decode_data_header(encode_data_header(sequence, count) + payload) == (sequence, count)


@given(
    st.builds(
        FpgaConfig,
        logging=st.sampled_from(["raw", "multi"]),
        lanes=st.sampled_from(["four", "two"]),
        transfer=st.sampled_from(["capture", "playback"]),
        destination=st.sampled_from(["sd", "ethernet"]),
        bits=st.sampled_from([12, 14, 16]),
        timer_s=st.integers(0, 255),
    )
)
def test_fpga_config_round_trip(config: FpgaConfig) -> None:
    assert FpgaConfig.decode(config.encode()) == config


@given(st.integers(48, 1472), st.integers(5, 500))
def test_packet_config_round_trip(size: int, delay_us: int) -> None:
    config = PacketConfig(packet_size=size, delay_us=delay_us)
    assert PacketConfig.decode(config.encode()) == config


def test_eeprom_and_version_round_trip() -> None:
    config = EepromConfig(host_ip="10.1.2.3", card_ip="10.1.2.4", card_mac="12:34:56:78:90:ab", data_port=5000)
    assert EepromConfig.decode(config.encode()) == config
    assert decode_version(encode_version(Version(3, 127, True))) == Version(3, 127, True)


@pytest.mark.parametrize(
    "datagram",
    [
        b"",
        b"\x5a\xa5",
        encode_reply(CommandCode.RECORD_START)[:-1],
        b"\0" * 8,
        struct.pack("<HHHH", 0xA55A, 99, 0, 0xEEAA),
    ],
)
def test_garbage_is_neither_command_nor_reply(datagram: bytes) -> None:
    for decode in (decode_command, decode_reply):
        with pytest.raises(PipelineError, match=f"A datagram of {len(datagram)} bytes"):
            decode(datagram)


def test_command_with_a_wrong_length_word() -> None:
    with pytest.raises(PipelineError, match="no DCA1000 command"):
        decode_command(encode_command(CommandCode.CONFIG_FPGA_GEN, b"123456")[:-3] + b"\xaa\xee")


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: PacketConfig(delay_us=4), "packet delay of 4 us .* choose 5 to 500 us"),
        (lambda: PacketConfig(delay_us=501), "packet delay of 501 us"),
        (lambda: PacketConfig.decode(struct.pack("<HHH", 20, 625, 0)), "packet size 20 must be 48 to 1472"),
        (lambda: PacketConfig.decode(b"12"), "carries 6 bytes, not 2"),
        (lambda: FpgaConfig.decode(bytes([1, 3, 1, 2, 3, 30])), "the byte for lanes is 3, but must be 1 to 2"),
        (lambda: FpgaConfig.decode(b""), "carries 6 bytes, not 0"),
        (lambda: EepromConfig(card_mac="12:34").encode(), "'12:34' is no MAC address"),
        (lambda: EepromConfig(card_mac="1:2:3:4:5:256").encode(), "is no MAC address"),
        (lambda: EepromConfig(card_mac="1:2:3:4:5:6", card_ip="10.0.0").encode(), "'10.0.0' is no IPv4 address"),
        (lambda: EepromConfig.decode(b""), "carries 18 bytes, not 0"),
        (lambda: decode_data_header(b"123456789"), "no data packet"),
    ],
)
def test_bad_values_get_a_sentence(call: Callable[[], object], sentence: str) -> None:
    with pytest.raises(PipelineError, match=sentence):
        call()


def test_rates_are_tis_at_its_points_and_fall_with_the_delay() -> None:
    assert [round(PacketConfig(delay_us=delay).rate_mbps) for delay in (5, 10, 25, 50)] == [706, 545, 325, 193]
    rates = [PacketConfig(delay_us=delay).rate_mbps for delay in range(5, 501)]
    assert all(a > b for a, b in pairwise(rates))


def test_full_packets_carry_what_a_real_card_put_in_them() -> None:
    assert PacketConfig(packet_size=1470).payload_bytes == 1456
    assert PacketConfig(packet_size=1472).payload_bytes == 1456


def test_status_words_become_sentences() -> None:
    assert status_bits(0x0101) == (StatusBit.NO_LVDS_DATA, StatusBit.RECORD_COMPLETED)
    assert len({describe_status(1 << bit) for bit in StatusBit}) == 12
    assert describe_status(0x8080)[1] == "the card set status bits 0x8000, which TI's guide does not explain"
    assert not CardStatus(1 << StatusBit.RECORD_COMPLETED, 0).is_fault
    assert CardStatus(1 << StatusBit.RECORD_COMPLETED | 1, 0).is_fault
    assert CardStatus(0x8000, 0).is_fault
    assert not CardStatus(0, 0).is_fault


# --- the client ------------------------------------------------------------------------------------------------------

COMMANDS: list[tuple[Callable[[CardClient], object], CommandCode, bytes]] = [
    (CardClient.reset_fpga, CommandCode.RESET_FPGA, b""),
    (CardClient.reset_radar, CommandCode.RESET_AR_DEV, b""),
    (CardClient.configure_fpga, CommandCode.CONFIG_FPGA_GEN, bytes([1, 2, 1, 2, 3, 30])),
    (
        lambda client: client.configure_eeprom(EepromConfig(card_mac="1:2:3:4:5:6")),
        CommandCode.CONFIG_EEPROM,
        EepromConfig(card_mac="1:2:3:4:5:6").encode(),
    ),
    (CardClient.record_start, CommandCode.RECORD_START, b""),
    (CardClient.record_stop, CommandCode.RECORD_STOP, b""),
    (CardClient.playback_start, CommandCode.PLAYBACK_START, b""),
    (CardClient.playback_stop, CommandCode.PLAYBACK_STOP, b""),
    (CardClient.system_connect, CommandCode.SYSTEM_CONNECT, b""),
    (CardClient.read_status, CommandCode.SYSTEM_ERROR, b""),
    (lambda client: client.configure_packets(1470, 5), CommandCode.CONFIG_PACKET_DATA, bytes.fromhex("be0571020000")),
    (lambda client: client.configure_radar_data_mode(b"\1"), CommandCode.CONFIG_DATA_MODE_AR_DEV, b"\1"),
    (lambda client: client.init_playback(b"\2\3"), CommandCode.INIT_FPGA_PLAYBACK, b"\2\3"),
    (CardClient.read_version, CommandCode.READ_FPGA_VERSION, b""),
]


def test_every_command_of_the_protocol_is_sent_and_answered() -> None:
    assert [code for _, code, _ in sorted(COMMANDS, key=lambda row: row[1])] == list(CommandCode)
    with card(done) as (responder, client):
        for call, _, _ in COMMANDS:
            call(client)
        assert responder.seen == [(code, data) for _, code, data in COMMANDS]
        assert client.unmatched == 0


def test_version() -> None:
    with card(lambda r, code, _: r.send(encode_reply(code, 0x0402))) as (_, client):
        assert client.read_version() == Version(2, 8, False)


def test_status_between_request_and_reply_is_kept_and_offered() -> None:
    def answer(responder: Responder, code: CommandCode, _: bytes) -> None:
        responder.send(encode_status(1 << StatusBit.NO_LVDS_DATA))
        responder.send(encode_reply(CommandCode.RESET_FPGA))  # an answer to something asked long ago
        responder.send(encode_reply(code))

    offered: list[CardStatus] = []
    with card(answer, on_status=offered.append) as (_, client):
        client.record_start()
        assert [status.bits for status in client.statuses] == [(StatusBit.NO_LVDS_DATA,)]
        assert offered == client.statuses
        assert client.unmatched == 1


def test_status_that_comes_by_itself_is_polled() -> None:
    with card(done) as (responder, client):
        client.system_connect()
        assert client.poll() == ()
        responder.send(encode_status(1 << StatusBit.RECORD_COMPLETED))
        responder.send(encode_status(0))
        status, second = client.poll(timeout_s=2)
        assert status.sentences == ("recording completed",)
        assert second.sentences == ()
        assert 0 < time.monotonic_ns() - status.monotonic_ns < 2e9


def test_failure_names_the_command_and_what_the_card_reported() -> None:
    def answer(responder: Responder, code: CommandCode, _: bytes) -> None:
        responder.send(encode_status(1 << StatusBit.MODE_CONFIG_FAILURE))
        responder.send(encode_reply(code, 1))

    with card(answer) as (_, client), pytest.raises(PipelineError) as error:
        client.configure_fpga()
    assert "answered CONFIG_FPGA_GEN with failure (status 1): check the card's DIP switches" in str(error.value)
    assert "It also reported: the card refused its mode" in str(error.value)


def test_a_lost_request_is_sent_again() -> None:
    def second_time(responder: Responder, code: CommandCode, _: bytes) -> None:
        if len(responder.seen) == 2:
            responder.send(encode_reply(code))

    with card(second_time, timeout_s=0.1) as (responder, client):
        client.record_start()
        assert len(responder.seen) == 2


def test_silence_ends_after_the_retries_with_a_sentence() -> None:
    with card(lambda *_: None, timeout_s=0.05, retries=2) as (responder, client):
        started = time.monotonic()
        with pytest.raises(
            PipelineError, match=r"did not answer SYSTEM_CONNECT \(3 times, 0.05 s each\): check the card's"
        ):
            client.system_connect()
        assert time.monotonic() - started < 1
        assert len(responder.seen) == 3


def test_strangers_are_ignored_and_counted_even_with_the_right_words() -> None:
    with card(lambda r, code, _: r.send(encode_reply(code), source=STRANGER), timeout_s=0.1, retries=0) as (_, client):
        with pytest.raises(PipelineError, match="1 datagrams from other addresses were ignored"):
            client.record_start()
        assert client.foreign == 1
        assert client.statuses == []


def test_a_late_reply_does_not_answer_the_next_question() -> None:
    def late_failure(responder: Responder, code: CommandCode, _: bytes) -> None:
        if len(responder.seen) == 2:
            responder.send(encode_reply(code, 0))
            responder.send(encode_reply(code, 1))  # to the first request
        if len(responder.seen) == 3:
            responder.send(encode_reply(code, 0))

    with card(late_failure, timeout_s=0.1) as (_, client):
        client.record_stop()
        time.sleep(0.05)
        client.record_stop()
        assert client.unmatched == 1


def test_garbage_from_the_card_is_counted() -> None:
    def answer(responder: Responder, code: CommandCode, _: bytes) -> None:
        responder.send(b"hello")
        responder.send(encode_reply(code))

    with card(answer) as (_, client):
        client.system_connect()
        assert client.unmatched == 1


def test_nothing_listens_there() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as unused:
        unused.bind((CARD, 0))
        port = unused.getsockname()[1]
    with (
        CardClient(CARD, HOST, port, host_port=0, timeout_s=0.05, retries=1) as client,
        pytest.raises(PipelineError, match=f"nothing listens on port {port}"),
    ):
        client.system_connect()


def test_port_in_use() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind((HOST, 0))
        port = taken.getsockname()[1]
        with pytest.raises(PipelineError, match=f"UDP port {port} of {HOST} is in use by another program"):
            CardClient(CARD, HOST, port)


def test_host_without_that_address() -> None:
    with pytest.raises(PipelineError, match=r"this machine has no address 192\.0\.2\.7"):
        CardClient(CARD, "192.0.2.7")


def test_addresses_that_are_none() -> None:
    with pytest.raises(PipelineError, match="'card' is no IPv4 address"):
        CardClient("card", HOST)


def test_no_route_to_the_card() -> None:
    """A loopback address cannot send off the machine: the kernel refuses, as it does without a route."""
    with (
        CardClient("192.0.2.7", HOST, 4096, host_port=0, timeout_s=0.05) as client,
        pytest.raises(PipelineError, match=r"127\.0\.0\.1 cannot send to the card at 192\.0\.2\.7"),
    ):
        client.system_connect()


def test_the_port_is_given_back() -> None:
    with card(done) as (_, client):
        _, port = client.host_address
    with CardClient(CARD, HOST, port) as again:
        assert again.host_address == (HOST, port)
