"""A shop that reads from a replica."""

from __future__ import annotations


class ReplicaRouter:
    """Sends each read that names no database to the replica."""

    def db_for_read(self, model: type, **hints: object) -> str:
        return "replica"

    def db_for_write(self, model: type, **hints: object) -> str:
        return "default"

    def allow_relation(self, first: object, second: object, **hints: object) -> bool:
        return True
