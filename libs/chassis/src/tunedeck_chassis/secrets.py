"""`python -m tunedeck_chassis.secrets FOLDER`: makes what is missing there of a deployment's secrets.

    FOLDER/<user>/tunedeck_nats_nkey_seed   the user's key at NATS
    FOLDER/<user>/tunedeck_mongo_password   the user's password at MongoDB
    FOLDER/nats/nats_keys.conf              the public keys, as variables of nats-server's configuration
    FOLDER/mongo/keyfile                    what a mongod knows its replica set by

A service gets its own folder alone, as `TUNEDECK_SECRETS_DIR`. What is there stays: running it again changes
nothing. A user whose file was removed gets a new secret, which NATS takes at its next start, and MongoDB at
the next `tunedeck provision`; but the password of `provision` itself only a person can change at MongoDB, who
still has the former one.
"""

import argparse
import base64
import os
import secrets
from collections.abc import Callable
from pathlib import Path

import nkeys

from tunedeck_chassis.mongo_users import MONGO_USERS, PASSWORD
from tunedeck_contracts import permissions

SEED = "tunedeck_nats_nkey_seed"
_KEYFILE_BYTES = 756


def nats_keys(folder: Path) -> Path:
    """The file of the public keys."""
    return folder / "nats" / "nats_keys.conf"


def mongo_keyfile(folder: Path) -> Path:
    """The file by which the members of a replica set know each other."""
    return folder / "mongo" / "keyfile"


def create(folder: Path) -> list[Path]:
    """Make the files that are missing, and return them.

    Only who runs this may enter the folder; the files can be read by all, as containers see one by one what
    they are given, under another user.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    made = [
        path
        for path, content in (
            *((folder / user / SEED, _seed) for user in permissions.USERS),
            *((folder / user / PASSWORD, _password) for user in MONGO_USERS),
            (mongo_keyfile(folder), _keyfile),
        )
        if _made(path, content)
    ]
    keys = _public_keys(folder)
    path = nats_keys(folder)
    if not path.is_file() or path.read_text() != keys:
        path.unlink(missing_ok=True)
        _made(path, lambda: keys)
        made.append(path)
    return made


def _made(path: Path, content: Callable[[], str]) -> bool:
    """Whether the file was missing; it comes whole or not at all."""
    if path.exists():
        return False
    path.parent.mkdir(exist_ok=True)
    path.parent.chmod(0o755)
    unfinished = path.with_suffix(".new")
    unfinished.write_text(content())
    unfinished.chmod(0o444)
    unfinished.rename(path)
    return True


def _seed() -> str:
    return bytes(nkeys.encode_seed(os.urandom(32), nkeys.PREFIX_BYTE_USER)).decode()


def _password() -> str:
    return secrets.token_urlsafe(32)


def _keyfile() -> str:
    return base64.b64encode(os.urandom(_KEYFILE_BYTES)).decode()


def _public_keys(folder: Path) -> str:
    lines = ["# The public keys of the users: written by `tunedeck secrets` from their seeds.\n"]
    for user in permissions.USERS:
        pair = nkeys.from_seed(bytearray((folder / user / SEED).read_bytes().strip()))
        lines.append(f"{permissions.key_variable(user)}: {pair.public_key.decode()}\n")
    return "".join(lines)


def main() -> None:
    """Say what was made."""
    parser = argparse.ArgumentParser(
        prog="tunedeck secrets", description="Make what is missing of a deployment's secrets."
    )
    parser.add_argument("folder", type=Path)
    for path in create(parser.parse_args().folder):
        print(f"Made {path}")


if __name__ == "__main__":
    main()
