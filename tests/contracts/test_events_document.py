"""docs/events.md, for who subscribes: complete, and its examples are messages as the contracts have them."""

import json

import pytest

from scripts.write_asyncapi import CLOUD_EVENT_HEADERS
from tests.support.events_document import DOCUMENT, block
from tunedeck_contracts.channels import EVENT_CHANNELS, EventChannel
from tunedeck_contracts.events import JobEventType

each_channel = pytest.mark.parametrize("channel", EVENT_CHANNELS, ids=lambda channel: channel.name)


@each_channel
def test_every_subject_is_listed_with_its_stream(channel: EventChannel) -> None:
    row = next(line for line in DOCUMENT.splitlines() if line.startswith(f"| `{channel.address}` |"))
    if channel.stream is None:
        assert row.endswith("| none | not kept |")
        return
    days, hours = channel.stream.max_age.days, channel.stream.max_age.total_seconds() / 3600
    kept = f"{days} days" if days > 1 else f"{hours:g} hours"
    assert row.endswith(f"| {channel.stream.name} | {kept} |")


@each_channel
def test_every_example_is_a_message_with_all_its_keys(channel: EventChannel) -> None:
    heading = f"### `{channel.address}`\n"
    assert heading in DOCUMENT
    example = json.loads(block("json", heading))
    assert json.loads(channel.message.model_validate(example).to_json()) == example


@pytest.mark.parametrize("type_", JobEventType)
def test_every_type_of_a_job_event_is_explained(type_: JobEventType) -> None:
    cells = [line.split("|")[1] for line in DOCUMENT.splitlines() if line.startswith("| `")]
    assert any(f"`{type_.value}`" in cell for cell in cells)


def test_the_headers_are_those_of_an_event() -> None:
    shown = dict(line.split(": ", 1) for line in block("text", "as they came").splitlines())
    assert set(CLOUD_EVENT_HEADERS["required"]) <= set(shown)
    assert shown["ce-id"] == shown["Nats-Msg-Id"]
    assert all(f"| `{name}` |" in DOCUMENT for name in shown)
