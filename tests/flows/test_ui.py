"""What a lab does in the Prefect UI, done in a real browser: record from the form, see the nightly schedule, evaluate again.

MAEPOSE_SCREENSHOTS=docs/pictures python -m pytest -m slow tests/flows/test_ui.py   # takes the pictures of docs/prefect-ui.md
"""

import json
import os
import re
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit
from uuid import UUID

import pytest
import yaml
from browser import browser_page, needs_browser
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId
from prefect_ui import SHORT_ID, PrefectUi

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "models"))

from made_study import made_study, small_config

from flows.local_server import PROJECT
from pipeline.recording import open_recording

pytestmark = [pytest.mark.slow, needs_browser, pytest.mark.timeout(1800)]

SECONDS = 30  # of recording: long enough to be watched while it goes on
PREFECTS_OWN = {"sr-client-cfg.amplitude.com"}  # settings of its statistics are asked for though these are off


@pytest.fixture(scope="module")
def ui(server) -> Iterator[PrefectUi]:
    """A browser on the UI of the tests' server; all it asks of other machines is known."""
    folder = os.environ.get("MAEPOSE_SCREENSHOTS")
    with browser_page() as page:
        yield PrefectUi(page, server.ui_url, Path(folder) if folder else None)
        asked = {urlsplit(address).hostname for address in page.asked if address.startswith(("http", "ws"))}
        assert asked <= {"127.0.0.1"} | PREFECTS_OWN


def open_deployment(ui: PrefectUi, flow: str) -> None:
    """From the front page to the one deployment of a flow."""
    ui.open()
    ui.click("link", "Deployments")
    ui.fill("textbox", "Search deployments", flow)
    ui.wait(lambda: ui.count("link", flow) == ui.count("link", "default") == 1, f"the deployment of {flow} alone")
    ui.click("link", "default")
    ui.see("Entrypoint", f"flows.{flow.replace('-', '_')}.")


def open_artifact(ui: PrefectUi, kind: str, key: str) -> None:
    """From the page of a run: its artifact of this key. The UI lists all of a key first, the newest on top."""
    ui.click("tab", "Artifacts")
    ui.click("link", re.compile(rf"^{kind} {key} "))
    ui.click("link", SHORT_ID)
    ui.find("tab", "Raw")


def submit(ui: PrefectUi) -> None:
    """Press Submit until the form is left: a press while the page is just being drawn anew does nothing."""
    ui.click("button", "Submit")
    for _ in range(4):
        try:
            ui.wait(lambda: not ui.count("button", "Submit"), "a page after the form", within_s=30)
        except AssertionError:
            ui.click("button", "Submit")
        else:
            return
    ui.wait(lambda: not ui.count("button", "Submit"), "a page after the form")


def percent(ui: PrefectUi) -> float:
    """What the page of a progress artifact says."""
    return float(re.search(r"Progress: ([\d.]+)%", ui.see("Progress: "))[1])


def table_shown(ui: PrefectUi) -> str:
    """The table on the page of an artifact of the made-up study, as it can be read."""
    text = ui.see("A made-up study", "MAEPose (ours)", "Simulated", "evaluate-made", "Show Raw Data")
    return text.split("A made-up study", 1)[1].split("Show Raw Data")[0]


def artifacts(client, run_id: UUID) -> dict[str, object]:
    found = client.read_artifacts(artifact_filter=ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run_id])))
    return {artifact.key: artifact.data for artifact in found}


def test_a_session_is_recorded_from_the_form_watched_and_looked_at(ui, server, client):
    open_deployment(ui, "capture-session")
    ui.click("button", "Run")
    ui.click("menuitem", "Custom run")
    ui.see("Who is recorded, for example p01.")
    ui.fill("textbox", "Run Name", "from the form")
    ui.click("button", "Select rig")
    ui.click("option", "simulated")
    ui.fill("textbox", "action (Optional)", "arm-raise")
    ui.click("tab", "float")
    ui.fill("spinbutton", "", str(SECONDS))
    ui.fill("textbox", "participant (Optional)", "p/03")
    ui.click("button", "Submit")
    refused = "'p/03' does not match"  # and no run was made
    ui.see(refused)
    ui.fill("textbox", "participant (Optional)", "p03")
    ui.gone(refused)
    ui.picture("prefect-form", top="Parameters")
    submit(ui)
    ui.click("link", re.compile(r"^(View run|from the form|capture-p03)$"))  # offered for a moment, then in the list

    ui.see("capture-p03", "Running")  # the flow gives its run this name when it begins
    ui.click("tab", "Logs")
    ui.see(f" into {server.root}")
    run_page = ui.where()
    ui.click("tab", "Artifacts")
    ui.see("capture-progress")
    ui.picture("prefect-running")
    open_artifact(ui, "PROGRESS", "capture-progress")
    assert 0 <= percent(ui) < 100
    ui.open(run_page)
    ui.see("capture-p03", "Completed")
    open_artifact(ui, "PROGRESS", "capture-progress")
    assert percent(ui) == 100

    ui.open(run_page)
    open_artifact(ui, "TABLE", "recording")
    shown = ui.see("simulated", "p03", "arm-raise", "capture-p03")
    ui.picture("prefect-recording")
    run = client.read_flow_run(UUID(run_page.rsplit("/", 1)[1]))
    assert (run.parameters["seconds"], run.parameters["rig"]) == (SECONDS, "simulated")
    rows = {row["what"]: row["value"] for row in json.loads(artifacts(client, run.id)["recording"])}
    assert rows["recording"] in shown
    recording = open_recording(server.root, rows["recording"])
    assert (recording.manifest.participant, recording.manifest.status) == ("p03", "success")


def test_the_nightly_reprocessing_is_scheduled(ui):
    asked = {one["entrypoint"]: one for one in yaml.safe_load((PROJECT / "prefect.yaml").read_text())["deployments"]}
    night = asked["flows.reprocess_recordings.reprocess_recordings"]["schedules"][0]
    open_deployment(ui, "reprocess-recordings")
    ui.see("Next Run", "At ")
    assert "toggle At 02:00 AM" in ui.names("switch")
    ui.picture("prefect-nightly")
    ui.click("tab", "Upcoming")
    ui.wait(lambda: ui.text().count("auto-scheduled") >= 2, "two nights that are planned")
    ui.click("button", "Open menu", which=1)  # of the schedule; the first is the deployment's
    ui.click("menuitem", "Edit")
    ui.see("Edit Schedule", f"Timezone\n{night['timezone']}")
    assert ui.holds("textbox", "Value") == night["cron"] == "0 2 * * *"
    ui.click("button", "Close")


def test_a_finished_evaluation_is_run_again_from_its_page(ui, server, client, prefect, finished):
    made_study(server.root / "experiments" / "made", small_config())
    typed = prefect("deployment", "run", "evaluate", "-p", "study=made")
    assert typed.returncode == 0, typed.stdout + typed.stderr
    first = finished(UUID(re.search(r"UUID: (\S+)", typed.stdout)[1]))
    assert first.state.is_completed(), first.state.message

    ui.open()
    ui.click("link", "Runs")
    ui.click("link", "evaluate-made")
    ui.see("Completed")
    open_artifact(ui, "MARKDOWN", "table2")
    before = table_shown(ui)
    ui.open(f"/v2/runs/flow-run/{first.id}")
    ui.see("Completed")
    ui.click("button", "Open menu")
    ui.click("menuitem", "Copy to new run")
    ui.wait(lambda: ui.holds("textbox", "study") == "made", "the parameter of the first run")
    ui.fill("textbox", "Run Name", "once more")
    ui.picture("prefect-again")
    submit(ui)
    ui.see("Entrypoint")
    again = next(
        run for run in client.read_flow_runs() if run.deployment_id == first.deployment_id and run.id != first.id
    )
    assert again.parameters == first.parameters == {"study": "made"}
    again = finished(again.id)
    assert again.state.is_completed(), again.state.message
    assert again.total_run_time < timedelta(seconds=120)

    ui.open(f"/v2/runs/flow-run/{again.id}")
    ui.see("Completed")
    open_artifact(ui, "MARKDOWN", "table2")
    assert table_shown(ui) == before
    assert artifacts(client, again.id)["table2"] == artifacts(client, first.id)["table2"]
    ui.picture("prefect-table")
    ui.open(f"/v2/runs/flow-run/{again.id}")
    open_artifact(ui, "MARKDOWN", "figures")
    ui.wait(lambda: len(ui.pictures_shown()) > 1, "figures that are drawn")
