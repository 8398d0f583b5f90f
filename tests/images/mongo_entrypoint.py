"""What the image mongo:8.0 does before mongod, in the part that a deployment counts on.

At the very first start it makes the user of MONGO_INITDB_ROOT_USERNAME while nobody else can connect; then
mongod starts with the words that it was given, and `--auth`. The image's own is a shell script over mongosh.
"""

import os
import subprocess
import sys
from pathlib import Path

import pymongo

DATA = Path("/data/db")
TEMPORARY_PORT = 27017


def main() -> None:
    """Become mongod."""
    words = [*sys.argv[1:], "--auth", "--dbpath", str(DATA)]
    if not (DATA / "WiredTiger").exists():
        _make_first_user()
    os.execvp(words[0], words)


def _make_first_user() -> None:
    password = Path(os.environ["MONGO_INITDB_ROOT_PASSWORD_FILE"]).read_text().strip()
    alone = ["mongod", "--dbpath", str(DATA), "--bind_ip", "127.0.0.1", "--port", str(TEMPORARY_PORT)]
    with subprocess.Popen(alone, stdout=subprocess.DEVNULL) as mongod:
        with pymongo.MongoClient("127.0.0.1", TEMPORARY_PORT) as client:
            client.admin.command(
                "createUser",
                os.environ["MONGO_INITDB_ROOT_USERNAME"],
                pwd=password,
                roles=[{"role": "root", "db": "admin"}],
            )
        mongod.terminate()


if __name__ == "__main__":
    main()
