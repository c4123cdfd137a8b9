"""Asks the API server what it would make of an object: a server-side dry run, many at once. `verdicts` compares."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any, NamedTuple, Self

import aiohttp
import msgspec

from notification_operator.credentials import Credentials
from notification_operator.kinds import Kind

_PARAMETERS = {"dryRun": "All", "fieldValidation": "Strict"}
_REFUSALS = (HTTPStatus.BAD_REQUEST, HTTPStatus.FORBIDDEN, HTTPStatus.UNPROCESSABLE_ENTITY)


class Answer(NamedTuple):
    """What the API server said: the object as it would be stored, or why it would not be."""

    stored: Mapping[str, Any] | None
    refusal: str


class DryRun:
    """One namespace of an API server. Use as an async context manager."""

    def __init__(self, kubeconfig: Path, namespace: str) -> None:
        self._credentials = Credentials.load(kubeconfig)
        self.namespace = namespace
        self._known: dict[bytes, Answer] = {}
        self.asked = 0

    async def __aenter__(self) -> Self:
        token = await self._credentials.token()
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=self._credentials.ssl_context(), limit=32),
            headers={"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {}),
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def create(self, kind: Kind, manifest: Mapping[str, Any]) -> Answer:
        """Create the object, without a trace."""
        self.asked += 1
        url = self._credentials.server + kind.path(self.namespace)
        async with self._session.post(url, params=_PARAMETERS, data=msgspec.json.encode(manifest)) as response:
            content = msgspec.json.decode(await response.read())
            if response.status == HTTPStatus.CREATED:
                return Answer(content, "")
            assert response.status in _REFUSALS, content
            return Answer(None, content["message"])

    async def create_once(self, kind: Kind, manifest: Mapping[str, Any]) -> Answer:
        """The same, with the answer kept: specs that differ have many a child in common."""
        digest = hashlib.sha256(msgspec.json.encode(manifest, order="deterministic")).digest()
        if digest not in self._known:
            self._known[digest] = await self.create(kind, manifest)
        return self._known[digest]
