"""compose.yaml: nothing is open that need not be, no secret stands in it, and its services fit each other and the Dockerfile."""

import os
import re
import shutil
import subprocess

import pytest
from machine_room.files import LONE_VARIABLE, PROJECT, compose, example_variables, filled_in, stages

SERVICES = compose()["services"]
OURS = {name: service for name, service in SERVICES.items() if service["image"].startswith("maepose:")}
FILLED = {"POSTGRES_PASSWORD": "between-machines", "MAEPOSE_AUTH": "lab:word"}


def environment(service: dict) -> dict[str, str]:
    return service.get("environment") or {}


@pytest.mark.parametrize("name", OURS)
def test_every_image_of_ours_is_a_target_of_the_dockerfile(name):
    build = OURS[name]["build"]
    assert build["target"] in stages()
    assert OURS[name]["image"] == f"maepose:{build['target']}"
    arguments = {rest.split("=")[0] for word, rest in stages()["build"] if word == "ARG"}
    assert set(build["args"] if build["target"] == "cpu" else {}) <= arguments


def test_ports_are_this_machines_alone_unless_somebody_says_otherwise():
    published = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert len(published) == 2
    for port in published:
        assert filled_in(port, {}).startswith("127.0.0.1:"), port
    assert "MAEPOSE_PROXY_ADDRESS" in SERVICES["proxy"]["ports"][0]
    on_the_host = [name for name, service in SERVICES.items() if service.get("network_mode") == "host"]
    assert on_the_host == ["rig"]
    # what listens there is the worker's own health, on loopback by the image
    assert ("ENV", True) in [
        (word, "PREFECT_WORKER_WEBSERVER_HOST=127.0.0.1" in rest) for word, rest in stages()["run"]
    ]


def test_no_secret_is_written_down():
    for name, service in SERVICES.items():
        for variable, value in environment(service).items():
            if re.search(r"PASSWORD|AUTH|SECRET|TOKEN|KEY", variable):
                assert LONE_VARIABLE.match(value), f"{name}: {variable}"
    for variable, value in example_variables().items():
        if re.search(r"PASSWORD|AUTH", variable):
            assert value == "", variable
    assert all(secret["file"].startswith("./deploy/tls/") for secret in compose()["secrets"].values())
    for path in (".env", "deploy/tls/server.key"):
        ignored = subprocess.run(["git", "check-ignore", "--quiet", path], cwd=PROJECT, check=False)
        assert ignored.returncode == 0, path


def test_without_passwords_nothing_starts():
    for missing in FILLED:
        with pytest.raises(KeyError, match="make-secrets"):
            compose(**(example_variables() | FILLED | {missing: ""}))


def test_every_variable_is_explained():
    text = (PROJECT / "compose.yaml").read_text()
    used = set(re.findall(r"(?<!\$)\$\{(\w+)", text))
    assert used - set(example_variables()) == {"MAEPOSE_RIG_API_URL"}  # docs/machines.md
    assert set(example_variables()) <= used


def test_the_rig_trusts_the_certificate_that_the_proxy_shows():
    """On a machine of its own it comes through the proxy, and nobody else vouches for a certificate of the lab's own making."""
    trusted = environment(SERVICES["rig"])["PREFECT_API_SSL_CERT_FILE"]
    assert trusted in [f"/run/secrets/{name}" for name in SERVICES["rig"]["secrets"]]
    assert trusted == f"{environment(SERVICES['proxy'])['MAEPOSE_TLS']}/server.crt"
    assert SERVICES["rig"]["secrets"] == ["server.crt"]  # without its key


@pytest.mark.parametrize("name", SERVICES)
def test_who_waits_waits_for_what_can_come(name):
    for other, condition in (SERVICES[name].get("depends_on") or {}).items():
        awaited = SERVICES[other]
        if condition["condition"] == "service_healthy":
            assert "healthcheck" in awaited or other in OURS  # whose image has one
        else:
            assert condition["condition"] == "service_completed_successfully"
            assert not awaited["restart"].startswith(("always", "unless")), "it would never be done"
        assert not awaited.get("profiles"), f"{name} would wait for a service that is not asked for"
    for volume in SERVICES[name].get("volumes", []):
        source = volume["source"] if isinstance(volume, dict) else volume.split(":")[0]
        assert source.startswith(("/", ".", "$")) or source in compose()["volumes"]
    assert set(SERVICES[name].get("secrets", [])) <= set(compose()["secrets"])


def test_workers_ask_pools_that_are_made_and_say_how_they_are():
    from flows.deploying import LAB_POOLS

    workers = {
        name: service["entrypoint"] for name, service in SERVICES.items() if "worker" in service.get("entrypoint", [])
    }
    pools = {name: words[words.index("--pool") + 1] for name, words in workers.items()}
    assert pools == {"worker": "cpu", "gpu-worker": "gpu", "gpu-worker-1": "gpu", "rig": "rig"}
    assert set(pools.values()) == set(LAB_POOLS)
    assert all("--with-healthcheck" in words for words in workers.values())
    mounts = {name: [v for v in SERVICES[name]["volumes"] if isinstance(v, dict)] for name in workers}
    assert {mount["target"] for found in mounts.values() for mount in found} == {"/data"}
    assert ("VOLUME", "/data") in stages()["run"]


def test_each_worker_that_trains_has_one_card_and_no_two_the_same():
    training = {
        name: service["deploy"]["resources"]["reservations"]["devices"]
        for name, service in SERVICES.items()
        if "gpu" in service.get("entrypoint", [])
    }
    cards = [device["device_ids"] for devices in training.values() for device in devices]
    assert cards == [["0"], ["1"]]
    for name in training:
        words = SERVICES[name]["entrypoint"]
        assert words[words.index("--limit") + 1] == "1", name


def test_nobody_has_rights_it_does_not_need():
    for name, service in SERVICES.items():
        assert not service.get("privileged"), name
        assert not service.get("cap_add"), name
    assert all("no-new-privileges:true" in service["security_opt"] for service in OURS.values())


def compose_program() -> list[str] | None:
    """Docker Compose as a program of its own or as Docker's plugin; None where there is neither."""
    if program := os.environ.get("MAEPOSE_COMPOSE") or shutil.which("docker-compose"):
        return [program]
    docker = shutil.which("docker")
    if docker and subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode == 0:
        return [docker, "compose"]
    return None


@pytest.mark.parametrize("profiles", [(), ("gpu", "second-gpu", "rig", "proxy")])
def test_docker_compose_reads_it(profiles, tmp_path):
    program = compose_program()
    if program is None:
        pytest.skip("NO DOCKER COMPOSE: compose.yaml was not read by it; install Docker's compose plugin")
    (tmp_path / "env").write_text(
        "".join(f"{name}={value}\n" for name, value in (example_variables() | FILLED).items())
    )
    words = [word for profile in profiles for word in ("--profile", profile)]
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("MAEPOSE_", "POSTGRES_"))}
    read = subprocess.run(
        [*program, "--env-file", str(tmp_path / "env"), *words, "config", "--services"],
        cwd=PROJECT, env=clean, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert read.returncode == 0, read.stderr
    assert "warn" not in read.stderr.lower(), read.stderr
    asked = {name for name, service in SERVICES.items() if set(service.get("profiles", [])) <= set(profiles)}
    assert set(read.stdout.split()) == asked


def test_passwords_are_made_once_and_by_chance(tmp_path):
    if shutil.which("openssl") is None:
        pytest.skip("NO OPENSSL: deploy/make-secrets.sh was not run; install openssl")
    made = []
    for name in ("a", "b"):
        lab = tmp_path / name
        (lab / "deploy").mkdir(parents=True)
        for file in (".env.example", "deploy/make-secrets.sh"):
            shutil.copy(PROJECT / file, lab / file)
        for _ in range(2):
            said = subprocess.run(
                ["sh", "deploy/make-secrets.sh", "lab.example", "192.168.1.10"],
                cwd=lab,
                capture_output=True,
                text=True,
                check=True,
            )
        assert ".env is there already" in said.stdout
        made.append((lab / ".env").read_text())
        variables = dict(line.partition("=")[::2] for line in made[-1].splitlines() if line and line[0] != "#")
        filled = compose(**variables)["services"]
        assert len(environment(filled["postgres"])["POSTGRES_PASSWORD"]) == 48
        assert re.fullmatch(r"maepose:[0-9a-f]{32}", environment(filled["server"])["PREFECT_SERVER_API_AUTH_STRING"])
        assert environment(filled["worker"])["PREFECT_API_AUTH_STRING"] in made[-1]
        assert {(lab / path).stat().st_mode & 0o077 for path in (".env", "deploy/tls/server.key")} == {0}
        certificate = subprocess.run(
            ["openssl", "x509", "-in", "deploy/tls/server.crt", "-noout", "-text"],
            cwd=lab,
            capture_output=True,
            text=True,
            check=True,
        )
        for known in ("DNS:localhost", "DNS:lab.example", "IP Address:192.168.1.10"):
            assert known in certificate.stdout
    assert made[0] != made[1]
