"""The users of MongoDB: each service its own database, and the blobs."""


from tunedeck_chassis.blobs import BLOBS_DATABASE

PROVISION = "provision"
BACKUP = "backup"


def _on(role: str, *databases: str) -> tuple[tuple[str, str], ...]:
    return tuple((role, database) for database in databases)


MONGO_USERS: dict[str, tuple[tuple[str, str], ...]] = {
    "gateway": _on("readWrite", "tunedeck_gateway", BLOBS_DATABASE),
    "catalog": _on("readWrite", "tunedeck_catalog", BLOBS_DATABASE),
    "jobs": _on("readWrite", "tunedeck_jobs", BLOBS_DATABASE),
    "telemetry": _on("readWrite", "tunedeck_telemetry", BLOBS_DATABASE),
    "trainer": _on("readWrite", BLOBS_DATABASE),
    PROVISION: (("userAdminAnyDatabase", "admin"), ("clusterAdmin", "admin")),
    BACKUP: (("backup", "admin"), ("restore", "admin")),
}
"""What each may do: roles of MongoDB's own, each on a database.

Jobs keeps and removes the blobs of jobs, and any service's answer that is too large for the bus is a blob.
"""
