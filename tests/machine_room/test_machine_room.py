"""The machine room of compose.yaml without its containers: a server on a real Postgres, behind a real nginx, and a worker."""

import asyncio
import base64
import json
import re
import ssl
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import numpy as np
import pytest
from machine_room import lab
from machine_room.lab import AUTH, DATABASE_PASSWORD, MachineRoom, wait_for
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Subprotocol

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]
needs_nginx = pytest.mark.skipif(
    lab.nginx() is None, reason="NO NGINX: the proxy's configuration is untested here; install Debian's `nginx`"
)


@pytest.fixture(scope="module")
def room(tmp_path_factory) -> Iterator[MachineRoom]:
    folder = tmp_path_factory.mktemp("machine-room")
    certificate = lab.certificate(folder)
    server_url = f"http://127.0.0.1:{lab.free_port()}"
    url = f"https://localhost:{lab.free_port()}" if lab.nginx() else server_url
    made = MachineRoom(folder, server_url, url, certificate)
    made.root.mkdir()
    with ExitStack() as running:
        running.enter_context(lab.server(made, running.enter_context(lab.postgres(made))))
        if lab.nginx():
            running.enter_context(lab.proxy(made))
        deployed = made.typed("maepose", "deploy", "--json", "--training-pool", "gpu")
        assert deployed.returncode == 0, deployed.stderr
        assert json.loads(deployed.stdout)["pools"] == ["rig", "cpu", "gpu"]
        running.enter_context(lab.worker(made))
        yield made


def get(room: MachineRoom, path: str, auth: str | None = None, body: object = None) -> tuple[int, bytes]:
    """What the address that clients are told answers."""
    headers = {"Content-Type": "application/json"}
    if auth is not None:
        headers["Authorization"] = f"Basic {base64.b64encode(auth.encode()).decode()}"
    data = None if body is None else json.dumps(body).encode()
    trusted = ssl.create_default_context(cafile=str(room.certificate)) if room.url.startswith("https") else None
    try:
        with urlopen(Request(room.url + path, data=data, headers=headers), timeout=300, context=trusted) as reply:
            return reply.status, reply.read()
    except HTTPError as error:
        return error.code, error.read()


def test_networks_are_deployed_to_the_pool_that_trains(room):
    found = json.loads(get(room, "/api/deployments/filter", AUTH, {})[1])
    pools = {deployment["entrypoint"].split(".")[1]: deployment["work_pool_name"] for deployment in found}
    assert {pools[name] for name in ("pretrain", "finetune", "study", "evaluate_fold")} == {"gpu"}
    assert (pools["capture_session"], pools["process_recording"], pools["evaluate"]) == ("rig", "cpu", "cpu")


@pytest.mark.parametrize("auth", [None, "", "lab", "lab:", "lab:of-nobody-else", AUTH.upper(), f"{AUTH} "])
def test_without_the_password_nothing_is_told_and_nothing_is_done(room, auth):
    for path, body in (
        ("/api/admin/version", None),
        ("/api/flow_runs/filter", {}),
        ("/api/block_documents/filter", {}),
    ):
        code, said = get(room, path, auth, body)
        assert (code, json.loads(said)) == (401, {"exception_message": "Unauthorized"}), path
    code, _ = get(room, "/api/deployments/name/import-recording/default", auth)
    assert code == 401


def test_with_it_the_api_answers(room):
    assert get(room, "/api/admin/version", AUTH) == (200, b'"3.8.8"')
    assert get(room, "/api/health")[0] == 200


@needs_nginx
def test_the_proxy_speaks_tls_alone(room):
    with pytest.raises(URLError, match="CERTIFICATE_VERIFY_FAILED"):
        urlopen(room.url + "/api/health", timeout=10)
    with pytest.raises(HTTPError, match="400"):
        urlopen(room.url.replace("https", "http") + "/api/health", timeout=10)


@needs_nginx
def test_pictures_that_are_larger_than_nginx_lets_through_by_itself(room):
    picture = "x" * 5_000_000
    code, said = get(room, "/api/artifacts/", AUTH, {"key": "large", "type": "markdown", "data": picture})
    assert code == 201, said[:300]


@needs_nginx
def test_the_ui_loads_and_asks_where_it_came_from(room):
    code, page = get(room, "/")
    assert code == 200
    scripts = re.findall(r'(?:src|href)="(/[^"]+\.(?:js|css))"', page.decode())
    assert scripts
    for path in scripts:
        assert get(room, path)[0] == 200, path
    said = json.loads(get(room, "/ui-settings")[1])
    assert (said["auth"], said["api_url"]) == ("BASIC", "/api")


@needs_nginx
def test_a_person_signs_in_with_the_password_and_sees_the_deployments(room):
    from browser import browser_page, browser_path

    if browser_path() is None:
        pytest.skip("NO BROWSER: the UI behind the proxy was not opened; install Chromium")
    with browser_page() as page:
        page.call("Security.setIgnoreCertificateErrors", ignore=True)
        page.open(f"{room.url}/deployments")
        wait_for(
            lambda: page.value("!!document.querySelector('input[type=password]')"), "the question for the password", 120
        )
        assert "capture-session" not in page.value("document.body.innerText")
        page.value("document.querySelector('input[type=password]').focus()")
        page.call("Input.insertText", text=AUTH)
        for kind in ("keyDown", "keyUp"):
            page.call(
                "Input.dispatchKeyEvent", type=kind, key="Enter", code="Enter", windowsVirtualKeyCode=13, text="\r"
            )
        page.value("document.querySelector('button[type=submit]')?.click()")
        wait_for(lambda: not page.value("!!document.querySelector('input[type=password]')"), "the way in")
        page.open(f"{room.url}/deployments")
        wait_for(lambda: "capture-session" in page.value("document.body.innerText"), "the list of deployments")
        assert {address.split("/")[2] for address in page.asked if address.startswith("http")} == {
            room.url.split("/")[2]
        }


def test_events_pass_both_ways_with_the_password(room):
    """In a process of its own, as a client on another machine is one."""
    program = """
import asyncio
from prefect.events import Event, get_events_client, get_events_subscriber
from prefect.events.filters import EventFilter, EventNameFilter
async def main():
    async with get_events_subscriber(filter=EventFilter(event=EventNameFilter(prefix=["machine-room."]))) as heard:
        async with get_events_client() as client:
            await client.emit(Event(event="machine-room.greeting", resource={"prefect.resource.id": "maepose.test"}))
        print((await asyncio.wait_for(anext(heard), 600)).event)
asyncio.run(main())
"""
    (room.folder / "greet.py").write_text(program)
    said = room.typed("python", str(room.folder / "greet.py"))
    assert said.stdout.split() == ["machine-room.greeting"], said.stderr


@pytest.mark.parametrize("path", ["/api/events/in", "/api/events/out", "/api/logs/out"])
@pytest.mark.parametrize(
    ("subprotocol", "token"), [(None, None), ("prefect", None), ("prefect", "wrong"), ("prefect", "")]
)
def test_websockets_are_closed_without_the_password(room, path, subprotocol, token):
    assert websocket(room, path, subprotocol, token) == "closed"


@pytest.mark.parametrize("path", ["/api/events/in", "/api/events/out", "/api/logs/out"])
def test_websockets_open_with_it(room, path):
    assert websocket(room, path, "prefect", AUTH) == "auth_success"


def websocket(room: MachineRoom, path: str, subprotocol: str | None, token: str | None) -> str:
    """`closed`, or what the server answers to a first message with this token; without a token that is an event."""
    trusted = ssl.create_default_context(cafile=str(room.certificate)) if room.url.startswith("https") else None
    protocols = [Subprotocol(subprotocol)] if subprotocol else None
    event = {"event": "recording.closed", "resource": {"prefect.resource.id": "maepose.recording.a"}}
    try:
        with connect(f"ws{room.url[4:]}{path}", ssl=trusted, subprotocols=protocols, proxy=None) as socket:
            socket.send(json.dumps(event if token is None else {"type": "auth", "token": token}))
            return str(json.loads(socket.recv(timeout=300))["type"])
    except (ConnectionClosed, InvalidStatus):
        return "closed"


def test_a_recording_is_imported_and_processed_by_itself(room):
    """`prefect deployment run` on another machine; a worker imports; its event starts the processing."""
    from pipeline.cfg_text import write_cfg
    from pipeline.waveform import PRESETS

    small = PRESETS["light"].model_copy(update={"samples": 32, "loops": 8})
    samples = np.random.default_rng(0).integers(-99, 99, 3 * small.frame_bytes // 2, np.int16)
    (room.root / "adc_data.bin").write_bytes(samples.tobytes())
    (room.root / "radar.cfg").write_text(write_cfg(small))
    words = ["source=adc_data.bin", 'configs=["radar.cfg"]', "sample_order=q-first", "recording_id=a"]
    asked = room.typed("prefect", "deployment", "run", "import-recording", *[w for one in words for w in ("-p", one)])
    assert asked.returncode == 0, asked.stdout + asked.stderr

    def done() -> set[str]:
        runs = json.loads(get(room, "/api/flow_runs/filter", AUTH, {})[1])
        states = {run["name"].split("-")[0]: run["state_type"] for run in runs if not run["auto_scheduled"]}
        assert not {"FAILED", "CRASHED"} & set(states.values()), states
        return {"import", "process"} <= {name for name, state in states.items() if state == "COMPLETED"}

    wait_for(done, "a processed recording")
    assert (room.root / "recordings/a/recording.json").exists()
    assert list((room.root / "cubes").glob("a.zarr"))


def test_a_path_out_of_the_data_root_fails_in_the_run_and_in_words(room):
    asked = room.typed("prefect", "deployment", "run", "import-recording", "-p", "source=../secrets/.env", "--watch")
    assert asked.returncode == 1
    runs = json.loads(get(room, "/api/flow_runs/filter", AUTH, {"sort": "START_TIME_DESC"})[1])
    (failed,) = [run["state"]["message"] for run in runs if run["state_type"] == "FAILED"]
    assert "'../secrets/.env' lies outside the data root" in failed
    refused = room.typed("prefect", "deployment", "run", "process-recording", "-p", "recording_id=../../secrets")
    assert refused.returncode == 1
    assert not any(run["name"].startswith("process-..") for run in runs)


def test_who_deploys_without_the_password_is_told_what_is_missing(room):
    refused = room.typed("maepose", "deploy", PREFECT_API_AUTH_STRING="")
    assert refused.returncode == 1
    assert "wants a password; set PREFECT_API_AUTH_STRING" in refused.stderr
    nobody = room.typed("maepose", "deploy", PREFECT_API_URL=f"http://127.0.0.1:{lab.free_port()}/api")
    assert (nobody.returncode, "Nothing answers at" in nobody.stderr) == (1, True)


def test_no_password_is_in_any_log_or_file(room):
    """Of server, worker, proxy and clients, their homes, the runs' logs and the data root."""
    logs = get(room, "/api/logs/filter", AUTH, {"limit": 200})[1]
    assert b"Importing" in logs or len(logs) > 500
    texts = {str(path): path.read_bytes() for path in room.folder.rglob("*") if path.is_file()}
    texts = {name: text for name, text in texts.items() if "/secrets/" not in name} | {"the runs' logs": logs}
    assert any("worker.log" in name for name in texts)
    for secret in (AUTH, AUTH.split(":")[1], DATABASE_PASSWORD):
        assert [name for name, text in texts.items() if secret.encode() in text] == []


def test_everything_is_in_postgres_and_nothing_in_a_file(room):
    assert not list(room.folder.rglob("prefect.db"))

    async def count() -> int:
        import asyncpg

        command = Path(f"/proc/{room.processes['postgres'].pid}/cmdline").read_bytes().split(b"\0")
        port = int(command[command.index(b"-p") + 1])
        database = await asyncpg.connect(
            host="127.0.0.1", port=port, user="prefect", database="prefect", password=DATABASE_PASSWORD
        )
        try:
            return int(await database.fetchval("SELECT count(*) FROM flow_run"))
        finally:
            await database.close()

    assert asyncio.run(count()) >= 2


def test_health_tells_when_database_and_server_are_gone(room):
    """Last: it ends them."""
    from flows.health import complaint, health_address

    def sick(name: str) -> str:
        return complaint(health_address(*room.health[name]))

    assert (sick("server"), sick("worker")) == ("", "")
    room.stop("postgres", 3)
    assert "503" in wait_for(lambda: sick("server"), "a server that says its database is gone")
    room.stop("server")
    assert "does not answer" in sick("server")
    assert "503" in wait_for(lambda: sick("worker"), "a worker that says it gets no work")
    room.stop("worker")
    assert "does not answer" in sick("worker")


if __name__ == "__main__":
    sys.exit(pytest.main([__file__, "-m", "slow"]))
