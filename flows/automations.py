"""The automations of `automations.yaml`, brought up to date on a Prefect server; running it again changes nothing."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import yaml
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import BlockDocument
from prefect.events.schemas.automations import AutomationCore
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.notices import LOG_BLOCK, LogNotice
from pipeline.errors import PipelineError

FILE = Path(__file__).with_name("automations.yaml")
NOTICE_BLOCK = "maepose-notices"
"""Notification blocks of this name, whatever their type, get every notice."""


def read_automations(blocks: Sequence[UUID], file: Path = FILE) -> list[AutomationCore]:
    """What the file asks for; each notice goes to each of `blocks`."""
    return [
        AutomationCore.model_validate(
            {**said, "actions": [one for action in said["actions"] for one in _addressed(action, blocks)]}
        )
        for said in yaml.safe_load(file.read_text())["automations"]
    ]


def update_automations(client: SyncPrefectClient) -> None:
    """Make or update each automation by its name, and the log they tell; one that was switched off stays off."""
    for wanted in read_automations(_notice_blocks(client)):
        there = client.read_automations_by_name(wanted.name)
        if not there:
            client.create_automation(wanted)
        for found in there:
            wanted = wanted.model_copy(update={"enabled": found.enabled})
            if AutomationCore.model_validate(found.model_dump(exclude={"id"})) != wanted:
                client.update_automation(found.id, wanted)


def _notice_blocks(client: SyncPrefectClient) -> list[UUID]:
    """The log's block, and those that somebody made in the UI to be told; PipelineError where such a one cannot tell."""
    with temporary_settings({PREFECT_API_URL: str(client.api_url)}):
        log = LogNotice().save(LOG_BLOCK, overwrite=True)
    assert isinstance(log, UUID)
    told = [log]
    for block in client.read_block_documents(include_secrets=False, limit=200):
        if block.name == NOTICE_BLOCK:
            _check_it_can_tell(block)
            told.append(block.id)
    return told


def _check_it_can_tell(block: BlockDocument) -> None:
    if block.block_schema is None or "notify" not in block.block_schema.capabilities:
        kind = block.block_type_name or "block"
        raise PipelineError(
            f"The block {NOTICE_BLOCK} is a {kind}, which sends no notices; make it one that does (Slack, Email, ...)."
        )


def _addressed(action: dict[str, Any], blocks: Sequence[UUID]) -> list[dict[str, Any]]:
    """A notice once for every block; any other action as it is."""
    if action["type"] != "send-notification":
        return [action]
    return [{**action, "block_document_id": str(block)} for block in blocks]
