"""The Lease on which operators agree who leads: its record, and the port through which `leader` reads and writes it.

`ClusterLeases` speaks to the API server. `MemoryLeases` is the same in this process, for tests: both refuse a write of
a version that is no longer the current one, which is all that the election relies on.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from notification_operator.cluster import Cluster
from notification_operator.errors import ConflictError, NotFoundError
from notification_operator.kinds import LEASE


@dataclass(frozen=True, slots=True)
class Lease:
    """What a Lease says. Two are equal when they say the same, whatever their version."""

    holder: str
    """Who leads; empty: nobody."""
    seconds: int
    """For how long after its last renewal it is the holder's."""
    acquired: str
    renewed: str
    """By the holder's own clock: told to people, never computed with."""
    transitions: int = 0
    """How often another holder took over."""
    stored: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)
    """The object as it was read, its version included; empty for one that isn't there yet."""

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> Lease:
        """Read the object. Every field of it may be missing."""
        spec = stored.get("spec") or {}
        return cls(
            holder=spec.get("holderIdentity") or "",
            seconds=spec.get("leaseDurationSeconds") or 0,
            acquired=spec.get("acquireTime") or "",
            renewed=spec.get("renewTime") or "",
            transitions=spec.get("leaseTransitions") or 0,
            stored=stored,
        )

    def manifest(self, namespace: str, name: str) -> dict[str, Any]:
        """The object to write: what others put into the one that was read stays."""
        metadata = {**self.stored.get("metadata", {}), "namespace": namespace, "name": name}
        said = {
            "holderIdentity": self.holder,
            "leaseDurationSeconds": self.seconds,
            "acquireTime": self.acquired,
            "renewTime": self.renewed,
            "leaseTransitions": self.transitions,
        }
        spec = {**self.stored.get("spec", {}), **said}
        return {"apiVersion": LEASE.api_version, "kind": LEASE.name, "metadata": metadata, "spec": spec}


class Leases(Protocol):
    """Where one Lease is kept. Each call takes at most so many seconds, is made once, and raises ApiError."""

    async def read(self, seconds: float) -> Lease | None:
        """The Lease as it is now; None when it isn't there."""

    async def write(self, lease: Lease, seconds: float) -> Lease:
        """Store it if it hasn't changed since it was read; returns it as stored. Raises ConflictError if it has."""


class ClusterLeases:
    """A Lease on the API server."""

    def __init__(self, cluster: Cluster, namespace: str, name: str) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self._name = name

    async def read(self, seconds: float) -> Lease | None:
        """GET it."""
        try:
            return Lease.of(await self._cluster.once("GET", LEASE.path(self._namespace, self._name), None, seconds))
        except NotFoundError:
            return None

    async def write(self, lease: Lease, seconds: float) -> Lease:
        """POST a new one, which is refused when there is one; PUT one that was read, with its resourceVersion."""
        method, name = ("PUT", self._name) if lease.stored else ("POST", None)
        body = lease.manifest(self._namespace, self._name)
        return Lease.of(await self._cluster.once(method, LEASE.path(self._namespace, name), body, seconds))


class MemoryLeases:
    """A Lease in memory, shared by those who share this object."""

    def __init__(self) -> None:
        self.stored: dict[str, Any] | None = None

    async def read(self, seconds: float) -> Lease | None:  # noqa: ARG002  it answers at once
        """A copy of it."""
        return None if self.stored is None else Lease.of(copy.deepcopy(self.stored))

    async def write(self, lease: Lease, seconds: float) -> Lease:  # noqa: ARG002  it answers at once
        """Store it, unless its version is an old one."""
        manifest = copy.deepcopy(lease.manifest("memory", "lease"))
        current = None if self.stored is None else self.stored["metadata"]["resourceVersion"]
        if manifest["metadata"].get("resourceVersion") != current:
            raise ConflictError("409 the lease was changed by somebody else", status=409)
        manifest["metadata"]["resourceVersion"] = str(int(current or 0) + 1)
        self.stored = manifest
        return Lease.of(copy.deepcopy(manifest))
