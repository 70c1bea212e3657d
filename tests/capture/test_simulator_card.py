"""The simulated card over real sockets: what it answers, what it streams and when, and the truth about its faults."""

import ctypes
import socket
import struct
import time

import numpy as np
import pytest
from simulator_host import SMALL, DataPort, connected, place

from capture.dca1000 import CardClient, EepromConfig, FpgaConfig, decode_data_header
from capture.dca1000_wire import DATA_HEADER_BYTES, CommandCode, encode_command
from capture.simulator.datagrams import DatagramSender, Packetiser, queued_bytes
from capture.simulator.echoes import simulate_frames
from capture.simulator.faults import FaultPlan, RecordingTruth, fault_plan
from capture.simulator.packet_faults import PacketFaults
from pipeline.cfg_text import write_cfg
from pipeline.errors import PipelineError
from pipeline.waveform import Waveform


def finite(frames: int, **changes: object) -> Waveform:
    return Waveform.model_validate({**SMALL.model_dump(), "frames": frames, **changes})


# --- commands --------------------------------------------------------------------------------------------------------


def test_every_command_is_answered_from_another_port_than_it_was_sent_to():
    with connected() as wires:
        wires.card.system_connect()
        assert str(wires.card.read_version()) == "2.8"
        ask = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        ask.bind(("127.0.0.1", 0))
        ask.settimeout(2)
        data = {
            CommandCode.CONFIG_FPGA_GEN: bytes.fromhex("01020102031e"),
            CommandCode.CONFIG_PACKET_DATA: struct.pack("<HHH", 1470, 3125, 0),
            CommandCode.CONFIG_EEPROM: EepromConfig(card_mac="12:34:56:78:90:12").encode(),
        }
        for code in CommandCode:
            ask.sendto(encode_command(code, data.get(code, b"")), (wires.rig.card.card_ip, wires.rig.card.config_port))
            reply, sender = ask.recvfrom(64)
            if reply == struct.pack("<HHHH", 0xA55A, CommandCode.SYSTEM_ERROR, 0x0100, 0xEEAA):
                reply, sender = ask.recvfrom(64)  # the recording that was just stopped is complete
            status = 0x0402 if code == CommandCode.READ_FPGA_VERSION else 0
            assert reply == struct.pack("<HHHH", 0xA55A, code, status, 0xEEAA)
            assert sender[0] == wires.rig.card.card_ip
            assert sender[1] != wires.rig.card.config_port
        ask.close()


def test_what_is_no_command_is_not_answered_and_a_bad_one_fails():
    with connected() as wires:
        ask = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        ask.bind(("127.0.0.1", 0))
        ask.settimeout(0.3)
        card = (wires.rig.card.card_ip, wires.rig.card.config_port)
        for nonsense in (b"", b"hello", encode_command(CommandCode.SYSTEM_CONNECT)[:-1], bytes(8)):
            ask.sendto(nonsense, card)
        with pytest.raises(TimeoutError):
            ask.recv(64)
        ask.sendto(encode_command(CommandCode.CONFIG_FPGA_GEN, bytes(6)), card)
        assert ask.recv(64) == struct.pack("<HHHH", 0xA55A, CommandCode.CONFIG_FPGA_GEN, 1, 0xEEAA)
        ask.close()


def test_planned_failures_silences_and_statuses_in_between():
    plan = FaultPlan(
        fail_commands=("RESET_FPGA",),
        ignore_commands={"RECORD_START": 2, "SYSTEM_CONNECT": 99},
        status_before_reply=0x0200,
    )
    with connected(faults=plan) as wires:
        wires.card.timeout_s = 0.1
        with pytest.raises(PipelineError, match="RESET_FPGA with failure"):
            wires.card.reset_fpga()
        wires.card.record_start()  # the third attempt is answered
        assert [status.status for status in wires.card.statuses] == [0x0200, 0x0200]
        with pytest.raises(PipelineError):
            wires.card.system_connect()
    with connected(faults=FaultPlan(card_dead=True)) as wires:
        wires.card.timeout_s = 0.1
        with pytest.raises(PipelineError):
            wires.card.system_connect()


def test_a_taken_port_is_said():
    with (
        connected() as wires,
        pytest.raises(PipelineError, match=r"cannot answer on 127\.0\.0\.2:\d+ \(Address already"),
        connected(config_port=wires.rig.card.config_port),
    ):
        pass


# --- the stream ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "firmware"),
    [({}, "studio-cli"), ({"tx_order": (1, 3, 2), "sample_order": "i-first", "rx_channels": (1, 2, 3)}, "mmwDemo")],
)
def test_the_stream_is_the_simulated_frames_and_its_tail_comes_two_seconds_later(changes, firmware):
    w = finite(5, **changes)
    speed = 20.0
    with connected(seed=7, speed=speed, firmware=firmware) as wires:
        datagrams = wires.record(w)
        truth = wires.rig.truths[0]
        scene = wires.rig.scene
    total = 5 * w.frame_bytes
    stream, missing = place(datagrams, total)
    assert missing == []
    np.testing.assert_array_equal(stream.view(np.int16), simulate_frames(scene, w, 5, seed=7).ravel())

    headers = [decode_data_header(datagram.data) for datagram in datagrams]
    assert [sequence for sequence, _ in headers] == list(range(1, len(datagrams) + 1))
    assert {len(datagram.data) for datagram in datagrams[:-1]} == {1456 + DATA_HEADER_BYTES}
    assert len(datagrams[-1].data) == total % 1456 + DATA_HEADER_BYTES
    assert datagrams[-1].arrived_s - datagrams[-2].arrived_s > 2.0 / speed * 0.95
    assert (truth.frames, truth.packets, truth.stream_bytes) == (5, len(datagrams), total)
    assert {datagram.sender[0] for datagram in datagrams} == {"127.0.0.2"}


def test_frames_come_at_their_period_in_real_time():
    w = finite(6)
    with connected() as wires:
        wires.arm(w)
        begin = time.time()
        wires.radar.start()
        while len(wires.data.datagrams) < 6 * w.frame_bytes // 1456 and time.time() < begin + 10:
            time.sleep(0.005)
        last = wires.data.datagrams[-1].arrived_s
    assert last - begin > 5 * w.frame_period_s


def test_the_packet_delay_limits_the_rate():
    w = finite(1, samples=100, loops=128, sample_rate_ksps=6000, tx_order=(1, 3), period_ms=50.0)
    with connected() as wires:
        wires.arm(w, delay_us=500)
        begin = time.time()
        wires.radar.start()
        wires.wait_status()
        datagrams = wires.data.settle()
    seconds = datagrams[-2].arrived_s - begin
    assert w.chirps_per_frame * w.chirp_period_s < 0.02  # what the radar needs
    assert seconds > 0.9 * (len(datagrams) - 2) * 450e-6  # what the card makes of it


def test_as_fast_as_the_receiver_takes_it_nothing_is_lost_in_a_small_buffer():
    w = finite(40, samples=256, loops=32, sample_rate_ksps=5000, ramp_end_time_us=60.0)
    with connected(speed=0.0) as wires:
        wires.data.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 106_496)  # the kernel doubles it
        datagrams = wires.record(w)
        truth = wires.rig.truths[0]
    assert truth.datagrams == len(datagrams) == -(-40 * w.frame_bytes // 1456)
    assert place(datagrams, 40 * w.frame_bytes)[1] == []


def test_record_stop_in_mid_frame_cuts_at_a_chirp_and_sends_the_rest_at_once():
    w = finite(0, loops=255, idle_time_us=200.0, period_ms=120.0)
    assert w.chirps_per_frame * w.chirp_period_s > 0.95 * w.frame_period_s  # nearly always in mid-frame
    for _ in range(10):
        if _stopped_early(w) % w.frame_bytes:
            return
    pytest.fail("Ten stops, and none in mid-frame.")


def _stopped_early(w: Waveform) -> int:
    """Bytes that were sent until RECORD_STOP, which came while frames did."""
    with connected(speed=0.25) as wires:  # so that this machine has a frame made before it is over
        wires.arm(w)
        wires.radar.start()
        while len(wires.data.datagrams) < 20:
            time.sleep(0.001)
        begin = time.monotonic()
        wires.card.record_stop()
        assert wires.wait_status() == 0x0100
        assert time.monotonic() - begin < 1.0
        datagrams = wires.data.settle()
        truth = wires.rig.truths[0]
    total = sum(len(datagram.data) - 10 for datagram in datagrams)
    assert place(datagrams, total)[1] == []
    assert total == truth.stream_bytes
    assert total % (w.samples * w.rx_count * 4) == 0  # a chirp's
    return total


def test_sensor_stop_ends_at_a_frame_and_the_next_start_goes_on_in_the_same_stream():
    w = finite(0)
    with connected(speed=10.0) as wires:
        wires.arm(w)
        wires.radar.start()
        time.sleep(0.02)
        wires.radar.stop()
        wires.radar.start()
        time.sleep(0.02)
        wires.radar.stop()
        assert wires.wait_status() == 0x0100
        datagrams = wires.data.settle()
        truth = wires.rig.truths[0]
    assert truth.frames >= 2
    assert truth.stream_bytes == truth.frames * w.frame_bytes
    assert place(datagrams, truth.stream_bytes)[1] == []


def test_a_new_record_start_counts_from_one_again_and_joins_a_running_radar_at_a_frame():
    w = finite(0)
    with connected(speed=5.0) as wires:
        wires.arm(w)
        wires.radar.start()
        while len(wires.data.datagrams) < 5:
            time.sleep(0.001)
        wires.card.record_start()
        count = len(wires.data.datagrams)
        while len(wires.data.datagrams) < count + 15:
            time.sleep(0.001)
        wires.card.record_stop()
        wires.wait_status()
        datagrams = wires.data.settle()
        truths = wires.rig.truths
    first = [index for index, datagram in enumerate(datagrams) if decode_data_header(datagram.data) == (1, 0)]
    assert len(first) == len(truths) == 2
    assert place(datagrams[first[1] :], truths[1].stream_bytes)[1] == []


def test_packet_size_and_eeprom_are_obeyed():
    w = finite(2)
    with DataPort() as other, connected(speed=50.0) as wires:
        wires.card.configure_eeprom(EepromConfig(card_mac="12:34:56:78:90:12", data_port=other.port))
        wires.radar.send_config(write_cfg(w))
        wires.card.configure_packets(packet_size=522, delay_us=5)
        wires.card.record_start()
        wires.radar.start()
        wires.wait_status()
        datagrams = other.settle()
        assert wires.data.datagrams == []
    assert {len(datagram.data) for datagram in datagrams[:-1]} == {512 + 10}
    assert place(datagrams, 2 * w.frame_bytes)[1] == []


@pytest.mark.parametrize(
    ("fpga", "status"),
    [(FpgaConfig(timer_s=1), 0), (FpgaConfig(timer_s=1, lanes="four"), 1), (FpgaConfig(timer_s=1, logging="multi"), 2)],
)
def test_a_card_that_hears_no_samples_says_so(fpga, status):
    with connected(speed=10.0) as wires:
        wires.radar.send_config(write_cfg(finite(1)))
        wires.card.configure_fpga(fpga)
        wires.card.record_start()
        if status:
            wires.radar.start()
        assert wires.wait_status() == (status or 1)
        assert wires.data.datagrams == []


def test_samples_kept_on_chip_never_reach_the_card():
    text = write_cfg(finite(1)).replace("lvdsStreamCfg -1 0 1 0", "lvdsStreamCfg -1 0 0 0")
    with connected(speed=10.0) as wires:
        wires.radar.send_config(text)
        wires.card.configure_fpga(FpgaConfig(timer_s=1))
        wires.card.record_start()
        wires.radar.start()
        assert wires.wait_status() == 1


def test_resetting_the_radar_stops_it_and_it_comes_back_unconfigured():
    with connected(speed=10.0) as wires:
        wires.arm(finite(0))
        wires.radar.start()
        while not wires.data.datagrams:
            time.sleep(0.001)
        wires.card.reset_radar()
        assert wires.wait_status() == 0x0100
        wires.radar.wait_ready()
        with pytest.raises(PipelineError, match="refused `sensorStart`"):
            wires.radar.start()


# --- faults ----------------------------------------------------------------------------------------------------------


PACKET_FAULTS = [
    {"loss": 0.1},
    {"loss": 0.1, "loss_burst": 7},
    {"lose_packets": (1, 2, 8, 30)},
    {"duplicate": 0.2},
    {"reorder": 0.3, "reorder_by": 6},
    {"late": 0.1, "late_by": 40},
    {"truncate": 0.2},
    {"loss": 0.05, "duplicate": 0.1, "reorder": 0.1, "late": 0.05, "truncate": 0.05},
]


@pytest.mark.parametrize("faults", PACKET_FAULTS, ids=lambda faults: "+".join(faults))
def test_the_truth_about_packet_faults_is_exact_and_repeats_with_the_seed(faults):
    w = finite(6)
    total = 6 * w.frame_bytes
    runs = []
    for speed in (0.0, 40.0):
        with connected(speed=speed, faults=FaultPlan(seed=3, **faults)) as wires:
            datagrams = wires.record(w)
            truth, scene = wires.rig.truths[0], wires.rig.scene
        stream, missing = place(datagrams, total)
        assert missing == truth.missing()
        whole = simulate_frames(scene, w, 6).ravel().view(np.uint8).copy()
        for start, stop in missing:
            whole[start:stop] = 0
        np.testing.assert_array_equal(stream, whole)
        assert truth.datagrams == len(datagrams)
        runs.append([datagram.data for datagram in datagrams])
    assert runs[0] == runs[1]

    numbers = [decode_data_header(data)[0] for data in runs[0]]
    lost = set(range(1, truth.packets + 1)) - set(numbers)
    assert bool(lost) == bool({"loss", "lose_packets"} & set(faults))
    assert lost >= set(faults.get("lose_packets", ()))
    assert len(numbers) - len(set(numbers)) == truth.duplicates
    assert bool(truth.duplicates) == ("duplicate" in faults)
    assert bool(truth.truncated) == ("truncate" in faults)
    displaced = numbers != sorted(numbers)
    assert displaced == bool({"reorder", "late", "duplicate"} & set(faults))
    assert bool(truth.reordered) == ("reorder" in faults)
    assert bool(truth.late) == ("late" in faults)


def test_what_happens_to_a_packet_does_not_depend_on_how_packets_are_blocked():
    plan = FaultPlan(seed=9, loss=0.1, loss_burst=3, duplicate=0.1, reorder=0.2, late=0.1, truncate=0.1, late_by=50)
    words = np.arange(40_000, dtype=np.int16)

    def departed(cuts: list[int]) -> list[bytes]:
        packetiser, faults, sent = Packetiser(64), PacketFaults(plan, 0, RecordingTruth()), []

        def take(address: np.ndarray, length: np.ndarray) -> None:
            sent.extend(ctypes.string_at(int(a), int(n)) for a, n in zip(address, length, strict=True))

        for part in np.split(words, cuts):
            take(*faults.depart(packetiser.add(part)))
        take(*faults.depart(packetiser.flush()))
        take(*faults.rest())
        return sent

    whole = departed([])
    assert departed([1, 7, 100, 20_000]) == whole
    assert departed(list(range(0, 40_000, 333))) == whole


def test_counters_wrap_as_on_a_card_that_ran_for_long():
    plan = FaultPlan(first_sequence=2**32 - 3, first_byte_count=2**48 - 3000)
    with connected(speed=50.0, faults=plan) as wires:
        datagrams = wires.record(finite(2))
    headers = [decode_data_header(datagram.data) for datagram in datagrams]
    assert [sequence for sequence, _ in headers[:5]] == [2**32 - 3, 2**32 - 2, 2**32 - 1, 0, 1]
    assert [count for _, count in headers[:4]] == [2**48 - 3000, 2**48 - 1544, 2**48 - 88, 1368]


def test_a_stall_holds_everything_back_and_loses_nothing():
    w = finite(40)
    with connected(faults=FaultPlan(stalls=((0.4, 0.4),))) as wires:
        wires.configure(w)
        begin = time.time()
        wires.card.record_start()
        wires.radar.start()
        wires.wait_status()
        datagrams = wires.data.settle()
    early = sum(len(datagram.data) for datagram in datagrams if datagram.arrived_s < begin + 0.8)
    assert early <= 0.4 / w.frame_period_s * w.frame_bytes * 1.01  # of the 0.8 s, what came in the first 0.4
    assert place(datagrams, 40 * w.frame_bytes)[1] == []


def test_a_silent_card_goes_on_answering_and_an_unplugged_one_does_not():
    w = finite(0)
    with connected(speed=5.0, faults=FaultPlan(silent_after_s=0.1)) as wires:
        wires.arm(w)
        wires.radar.start()
        count = len(wires.data.settle())
        wires.card.system_connect()
        wires.card.record_stop()
        assert wires.card.poll(0.3) == ()
        assert len(wires.data.settle()) == count
    with connected(speed=5.0, faults=FaultPlan(unplug_card_s=0.5)) as wires:
        wires.arm(w)
        wires.radar.start()
        wires.data.settle()
        wires.card.timeout_s = 0.1
        with pytest.raises(PipelineError):
            wires.card.system_connect()


def test_strangers_send_from_another_address():
    w = finite(4)
    with connected(speed=50.0, faults=FaultPlan(stray=0.3)) as wires:
        datagrams = wires.record(w)
        truth = wires.rig.truths[0]
    mine = [datagram for datagram in datagrams if datagram.sender[0] == wires.rig.card.card_ip]
    assert len(datagrams) - len(mine) == truth.strays > 0
    assert place(mine, 4 * w.frame_bytes)[1] == []


def test_a_wrong_plan_names_its_field():
    with pytest.raises(PipelineError, match="Fault plan: loss: Input should be less than or equal to 1"):
        fault_plan({"loss": 3})
    with pytest.raises(PipelineError, match="Fault plan: coffee: Extra inputs"):
        fault_plan({"coffee": 1})
    with pytest.raises(PipelineError, match="no card command 'RECORD'"):
        fault_plan({"fail_commands": ["RECORD"]})


# --- sending ---------------------------------------------------------------------------------------------------------


def test_a_sender_needs_nobody_to_listen_and_sees_a_full_queue():
    out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    out.bind(("127.0.0.1", 0))
    receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    receiver.bind(("127.0.0.1", 0))
    port = receiver.getsockname()[1]
    packets = Packetiser(1456).add(np.zeros(728 * 32, np.int16))
    sender = DatagramSender(out, "127.0.0.1", port)
    while sender.room(32, wait_for_receiver=True):
        sender.send(packets.address, packets.length)
        assert queued_bytes("127.0.0.1", port) < 200_000
    assert queued_bytes("127.0.0.1", port) > 100_000
    receiver.close()
    assert queued_bytes("127.0.0.1", port) == 0
    sender.send(packets.address, packets.length)
    sender.send(packets.address, packets.length)
    out.close()


def test_the_card_client_sees_the_card_go(monkeypatch):
    with connected() as wires:
        address = (wires.rig.card.card_ip, wires.rig.card.config_port)
    with (
        CardClient(address[0], "127.0.0.1", address[1], host_port=0, timeout_s=0.1) as card,
        pytest.raises(PipelineError),
    ):
        card.system_connect()
