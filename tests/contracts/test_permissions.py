"""NATS's users: committed as they are generated, and allowed what the services' code asks and no more."""

import ast
from pathlib import Path

import pytest

from scripts.write_nats_users import USERS as CONFIGURATION
from tunedeck_contracts import permissions
from tunedeck_contracts.channels import SERVICES
from tunedeck_contracts.rpc import REQUESTS

ROOT = Path(__file__).parents[2]


def asked_by(service: str) -> set[str]:
    """Names of the requests that a service's code knows and another service answers."""
    known: set[str] = set()
    for path in (ROOT / "services" / service / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module == "tunedeck_contracts.rpc":
                known |= {alias.name for alias in node.names}
            elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                known |= {node.attr} if node.value.id == "rpc" else set()
    return {name for name in known & set(REQUESTS) if REQUESTS[name].service != service}


def test_the_committed_users_are_the_generated_ones() -> None:
    is_current = CONFIGURATION.read_text() == permissions.configuration()
    assert is_current, "run `make schemas`, and look at the difference before you commit it"


@pytest.mark.parametrize("service", SERVICES)
def test_the_callers_of_the_table_are_those_whose_code_asks(service: str) -> None:
    assert {name for name, one in REQUESTS.items() if service in one.callers} == asked_by(service)


def test_no_user_may_do_what_the_next_one_is_for() -> None:
    """Nobody has the whole of anything; an observer changes nothing; inboxes are not shared."""
    for user in permissions.USERS:
        allowed = permissions.of_user(user)
        assert not {">", "rpc.>", "$JS.API.>", "$JS.API.STREAM.>"} & {*allowed.publish, *allowed.subscribe}
        inboxes = [one for one in allowed.subscribe if one.startswith("_INBOX")]
        assert inboxes == [f"_INBOX_{user}.>"]
        if user not in (permissions.PROVISION, permissions.OPERATOR):
            api = {one.split(".")[3] for one in allowed.publish if one.startswith("$JS.API.STREAM.")}
            assert api <= {"INFO", "MSG"}, user
    assert permissions.of_user(permissions.OBSERVER).publish == ()
