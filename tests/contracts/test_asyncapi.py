"""The AsyncAPI documents: committed as they are generated, valid, and of one mind about who sends what.

`asyncapi-3.0.0.json` is the specification's own schema, from the npm package @asyncapi/specs 6.11.1
(Apache-2.0).
"""

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator

from scripts.write_asyncapi import DOCUMENTS, texts
from tunedeck_contracts.channels import EVENT_CHANNELS, SERVICES
from tunedeck_contracts.rpc import REQUESTS

SCHEMA = json.loads((Path(__file__).parent / "asyncapi-3.0.0.json").read_text())
TEXT = {name.removesuffix(".json"): text for name, text in texts().items()}
DOCUMENT: dict[str, Any] = {name: json.loads(text) for name, text in TEXT.items()}


@pytest.mark.parametrize("service", SERVICES)
def test_the_committed_document_is_the_generated_one(service: str) -> None:
    is_current = (DOCUMENTS / f"{service}.json").read_text() == TEXT[service]
    assert is_current, "run `make schemas`, and look at the difference before you commit it"


@pytest.mark.parametrize("service", SERVICES)
def test_the_document_is_valid(service: str) -> None:
    errors = [error.message for error in Draft7Validator(SCHEMA).iter_errors(DOCUMENT[service])]
    assert errors == []


@pytest.mark.parametrize("service", SERVICES)
def test_every_reference_leads_somewhere(service: str) -> None:
    def check(value: Any) -> None:
        if isinstance(value, dict):
            if isinstance(value.get("$ref"), str):
                target = DOCUMENT[service]
                for key in value["$ref"].removeprefix("#/").split("/"):
                    assert key in target, value["$ref"]
                    target = target[key]
            for one in value.values():
                check(one)
        elif isinstance(value, list):
            for one in value:
                check(one)

    check(DOCUMENT[service])


def operations(action: str, channel: str) -> list[str]:
    """The services whose documents have it."""
    return [
        service for service, document in DOCUMENT.items() if f"{action}_{channel}" in document["operations"]
    ]


@pytest.mark.parametrize("name", REQUESTS)
def test_every_request_is_sent_by_someone_and_answered_by_its_owner(name: str) -> None:
    channel = REQUESTS[name].subject.removeprefix("rpc.").replace(".", "_")
    assert operations("receive", channel) == [REQUESTS[name].service]
    assert operations("send", channel)


@pytest.mark.parametrize("channel", EVENT_CHANNELS, ids=lambda channel: channel.name)
def test_every_event_is_told_by_those_who_tell_it(channel: Any) -> None:
    assert set(operations("send", channel.name)) == set(channel.senders)
    assert set(operations("receive", channel.name)) == set(channel.receivers)
