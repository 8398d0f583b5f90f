"""Writes deploy/nats/users.conf, the users of NATS with their permissions, from the contracts."""

from pathlib import Path

from tunedeck_contracts.permissions import configuration

USERS = Path(__file__).resolve().parent.parent / "deploy" / "nats" / "users.conf"

if __name__ == "__main__":
    USERS.write_text(configuration())
