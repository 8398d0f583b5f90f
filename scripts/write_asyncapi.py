"""Writes an AsyncAPI 3.0 document for each service into docs/asyncapi, from the tables of the contracts.

FastStream can describe its subscribers, but neither what a request is answered with nor what nats-py
publishes.
"""

import json
from pathlib import Path
from typing import Any

from tunedeck_contracts.channels import EVENT_CHANNELS, SERVICES, EventChannel
from tunedeck_contracts.errors import ErrorReply
from tunedeck_contracts.message import Message
from tunedeck_contracts.rpc import REQUESTS, Rpc, health_check

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = ROOT / "docs" / "asyncapi"
COMPONENT = "#/components/schemas/{model}"

Document = dict[str, Any]


class Service:
    """The document of one service while it is put together."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.channels: Document = {}
        self.operations: Document = {}
        self.messages: Document = {}
        self.schemas: Document = {}

    def document(self) -> Document:
        """The whole document."""
        for _, one in sorted(REQUESTS.items()):
            if one.service == self.name:
                self.request(one, "receive")
            elif self.name in one.callers:
                self.request(one, "send")
        if self.name == "gateway":
            for service in SERVICES[1:]:
                self.request(health_check(service), "send")
        else:
            self.request(health_check(self.name), "receive")
        for channel in EVENT_CHANNELS:
            if self.name in channel.senders:
                self.event(channel, "send")
            if self.name in channel.receivers:
                self.event(channel, "receive")
        return {
            "asyncapi": "3.0.0",
            "info": {
                "title": f"Tunedeck {self.name}",
                "version": "1.0.0",
                "description": "What the service takes from the bus and tells it. Bodies are JSON.",
            },
            "defaultContentType": "application/json",
            "servers": {"nats": {"host": "127.0.0.1:4222", "protocol": "nats"}},
            "channels": self.channels,
            "operations": self.operations,
            "components": {"messages": self.messages, "schemas": self.schemas},
        }

    def request(self, rpc: Rpc[Any, Any], action: str) -> None:
        """A request with its reply, which comes to the inbox that the request names."""
        name = rpc.subject.removeprefix("rpc.").replace(".", "_")
        bindings = {"nats": {"queue": rpc.service}} if action == "receive" else {}
        self._channel(name, rpc.subject, [rpc.request], f"Answered within {rpc.timeout:g} s.")
        self._channel(f"{name}_reply", None, [rpc.reply, ErrorReply], "The inbox that the request names.")
        self.operations[f"{action}_{name}"] = {
            "action": action,
            "channel": {"$ref": f"#/channels/{name}"},
            "messages": self._of_channel(name, [rpc.request]),
            "bindings": bindings,
            "reply": {
                "address": {"location": "$message.header#/replyTo"},
                "channel": {"$ref": f"#/channels/{name}_reply"},
                "messages": self._of_channel(f"{name}_reply", [rpc.reply, ErrorReply]),
            },
        }

    def event(self, channel: EventChannel, action: str) -> None:
        """An event of a stream, as a CloudEvent in binary mode."""
        kept = f"Kept by the stream {channel.stream.name}." if channel.stream else "Kept by nobody."
        described = f"{channel.description} {kept}"
        self._channel(channel.name, channel.address, [channel.message], described)
        if "{" in channel.address:
            parameter = channel.address.partition("{")[2].rstrip("}")
            self.channels[channel.name]["parameters"] = {parameter: {"description": "One token, no dots."}}
        message = self.messages[channel.message.__name__]
        message["headers"] = {"$ref": COMPONENT.format(model="CloudEventHeaders")}
        self.schemas["CloudEventHeaders"] = CLOUD_EVENT_HEADERS
        self.operations[f"{action}_{channel.name}"] = {
            "action": action,
            "channel": {"$ref": f"#/channels/{channel.name}"},
            "messages": self._of_channel(channel.name, [channel.message]),
        }

    def _channel(self, name: str, address: str | None, carried: list[type[Message]], text: str) -> None:
        for one in carried:
            self._add_message(one)
        references = {one.__name__: {"$ref": f"#/components/messages/{one.__name__}"} for one in carried}
        self.channels[name] = {"address": address, "description": text, "messages": references}

    def _of_channel(self, name: str, carried: list[type[Message]]) -> list[Document]:
        return [{"$ref": f"#/channels/{name}/messages/{one.__name__}"} for one in carried]

    def _add_message(self, message: type[Message]) -> None:
        schema = message.model_json_schema(mode="serialization", ref_template=COMPONENT)
        self.schemas.update(schema.pop("$defs", {}))
        self.schemas[message.__name__] = schema
        self.messages.setdefault(
            message.__name__,
            {
                "name": message.__name__,
                "summary": (message.__doc__ or "").strip().splitlines()[0],
                "payload": {"$ref": COMPONENT.format(model=message.__name__)},
            },
        )


CLOUD_EVENT_HEADERS = {
    "type": "object",
    "description": "CloudEvents 1.0, binary mode; Nats-Msg-Id is the key that absorbs repetition.",
    "required": ["ce-specversion", "ce-id", "ce-type", "ce-source", "ce-subject", "ce-time", "Nats-Msg-Id"],
    "properties": {
        name: {"type": "string"}
        for name in (
            *("ce-specversion", "ce-id", "ce-type", "ce-source", "ce-subject", "ce-time"),
            *("Nats-Msg-Id", "correlation_id"),
        )
    },
}


def texts() -> dict[str, str]:
    """Every document as the text of its file."""
    return {
        f"{name}.json": json.dumps(Service(name).document(), indent=2, sort_keys=True) + "\n"
        for name in SERVICES
    }


if __name__ == "__main__":
    DOCUMENTS.mkdir(parents=True, exist_ok=True)
    for file_name, text in texts().items():
        (DOCUMENTS / file_name).write_text(text)
