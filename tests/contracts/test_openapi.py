"""The OpenAPI documents: committed as they are generated, valid, and complete for who reads nothing else."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

from scripts.write_openapi import DOCUMENTS, texts
from tests.support import api_document
from tunedeck_gateway.access.rules import is_public
from tunedeck_gateway.app import create_app
from tunedeck_gateway.openapi import described
from tunedeck_gateway.settings import GatewaySettings

Document = dict[str, Any]

BOTH = create_app(GatewaySettings(), monitor_port=8001)
DOCUMENT: dict[str, Document] = {"main": BOTH.main.openapi(), "monitor": BOTH.monitor.openapi()}
MAIN = DOCUMENT["main"]


def operations(document: Document = MAIN) -> list[tuple[str, str, Document]]:
    """Every operation: (method, path, what the document says of it)."""
    return [
        (method.upper(), path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]


BY_ID: dict[str, Document] = {operation["operationId"]: operation for _, _, operation in operations()}
each_operation = pytest.mark.parametrize("operation", BY_ID.values(), ids=list(BY_ID))


def contents(operation: Document) -> Iterator[tuple[str, Document]]:
    """Every body of an operation: (where, {schema, example})."""
    for media_type, content in operation.get("requestBody", {}).get("content", {}).items():
        yield f"request {media_type}", content
    for status, response in operation["responses"].items():
        for media_type, content in response.get("content", {}).items():
            yield f"{status} {media_type}", content


def resolved(schema: Document) -> Document:
    while "$ref" in schema:
        schema = MAIN["components"]["schemas"][schema["$ref"].rsplit("/", 1)[-1]]
    return schema


def properties(
    schema: Document, path: str, seen: frozenset[str] = frozenset()
) -> Iterator[tuple[str, Document]]:
    """Every property below a schema with its path, references followed once."""
    if schema.get("$ref", "") in seen:
        return
    seen |= {schema["$ref"]} if "$ref" in schema else set()
    schema = resolved(schema)
    for name, one in schema.get("properties", {}).items():
        yield f"{path}.{name}", one
        yield from properties(one, f"{path}.{name}", seen)
    for one in (schema.get("items"), *schema.get("anyOf", []), *schema.get("allOf", [])):
        if isinstance(one, dict):
            yield from properties(one, path, seen)


def is_described(one: Document) -> bool:
    """By its own words, or by those of what it is or may be."""
    return any("description" in part for part in (one, resolved(one), *map(resolved, one.get("anyOf", []))))


@pytest.mark.parametrize("name", ["main.json", "monitor.json"])
def test_the_committed_document_is_the_generated_one(name: str) -> None:
    is_current = (DOCUMENTS / name).read_text() == texts()[name]
    assert is_current, "run `make schemas`, and look at the difference before you commit it"


@pytest.mark.parametrize("port", DOCUMENT)
def test_the_document_is_valid(port: str) -> None:
    validate(DOCUMENT[port])


def test_operation_ids_are_plain_and_say_what_is_done() -> None:
    assert len(BY_ID) == len(operations())
    assert [one for one in BY_ID if not re.fullmatch(r"[a-z]+(_[a-z]+)+", one)] == []


def test_the_monitor_has_nothing_of_its_own_but_its_health() -> None:
    for method, path, operation in operations(DOCUMENT["monitor"]):
        assert operation["responses"].keys() == MAIN["paths"][path][method.lower()]["responses"].keys()


@each_operation
def test_everything_that_is_sent_is_described(operation: Document) -> None:
    assert operation["description"]
    assert operation["tags"][0] in [tag["name"] for tag in MAIN["tags"]]
    named = [(parameter["name"], parameter) for parameter in operation.get("parameters", [])]
    for media_type, content in operation.get("requestBody", {}).get("content", {}).items():
        named += properties(content["schema"], media_type)
    assert [name for name, one in named if not is_described(one)] == []


@each_operation
def test_success_and_every_parameter_have_an_example(operation: Document) -> None:
    assert [one["name"] for one in operation.get("parameters", []) if "example" not in one] == []
    success = operation["responses"][min(operation["responses"])]
    assert success["content"], "what a success looks like is not said"
    for media_type, content in success["content"].items():
        assert media_type != "application/json" or "example" in content
    for content in operation.get("requestBody", {}).get("content", {}).values():
        assert "example" in content


@each_operation
def test_every_example_has_the_shape_of_its_schema(operation: Document) -> None:
    checked = [(where, content) for where, content in contents(operation) if "example" in content]
    checked += [(one["name"], one) for one in operation.get("parameters", [])]
    for where, content in checked:
        # OpenAPI 3.1 has no words for the items of a stream of events.
        described = {} if where.endswith("text/event-stream") else content["schema"]
        schema = {**described, "components": MAIN["components"]}
        errors = [error.message for error in Draft202012Validator(schema).iter_errors(content["example"])]
        assert (where, errors) == (where, [])


def test_every_operation_declares_its_errors_in_the_one_form() -> None:
    for _, path, operation in operations():
        declared = {status for status in operation["responses"] if status >= "400"}
        assert "403" in declared
        assert is_public(path) or {"401", "429", "503"} <= declared, path
        assert is_public(path) or operation["security"][1] == {}
        for status in declared:
            schema = operation["responses"][status]["content"]["application/json"]["schema"]
            for one in schema.get("anyOf", [schema]):
                assert {"detail", "status_code", "error_type"} <= set(resolved(one)["required"]), path
    assert "HTTPValidationError" not in MAIN["components"]["schemas"]


def test_what_is_said_of_an_operation_is_said_of_one_that_is_there() -> None:
    assert set(described()) <= set(BY_ID)
    for name, said in described().items():
        parameters = {parameter["name"] for parameter in BY_ID[name].get("parameters", [])}
        assert set(said.get("parameters", {})) <= parameters, name
        for link in said.get("links", {}).values():
            target = BY_ID[link["operationId"]]
            named = {parameter["name"] for parameter in target.get("parameters", [])}
            assert set(link.get("parameters", {})) <= named, (name, link)


@pytest.mark.parametrize("one", api_document.operations(), ids=lambda one: one.name)
def test_the_example_is_the_interface_s_own(one: api_document.Operation) -> None:
    operation = MAIN["paths"][one.path][one.method.lower()]
    success = operation["responses"][min(operation["responses"])]["content"]["application/json"]
    assert one.example is None or missing(one.example, success["example"]) == []
    if one.body is not None:
        assert operation["requestBody"]["content"]["application/json"]["example"] == one.body


def missing(expected: Any, found: Any, path: str = "") -> list[str]:
    """Where an example does not say what another says; more keys are no difference."""
    if isinstance(expected, dict) and isinstance(found, dict):
        return [
            one for key, value in expected.items() for one in missing(value, found.get(key), f"{path}.{key}")
        ]
    if isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        return [
            one
            for number, (left, right) in enumerate(zip(expected, found, strict=True))
            for one in missing(left, right, f"{path}[{number}]")
        ]
    return [] if expected == found else [f"{path}: {found!r}, not {expected!r}"]
