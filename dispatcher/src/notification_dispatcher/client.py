"""The client side of the HTTP interface, for the command line: `calls` and `sending` ask through it."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

import httpx

from notification_dispatcher.errors import ClientError

_SECONDS = 30.0

Json = dict[str, Any]


class Client:
    """A dispatcher that is spoken to. Use as a context manager."""

    def __init__(self, url: str, token: str | None, name: str = "") -> None:
        """`name` stands for the address in what is told to people who have never heard of it."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        try:
            self._http = httpx.Client(base_url=url, headers=headers, timeout=_SECONDS, trust_env=False)
        except (httpx.InvalidURL, UnicodeEncodeError):
            raise ClientError("--url or the token is not one") from None
        self._name = name or url

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._http.close()

    def ask(
        self, method: str, path: str, *, query: Mapping[str, Any] | None = None, body: Any = None, also: int = 0
    ) -> Json:
        """What it answers. Raises ClientError when that is a refusal, unless its status is `also`."""
        sent = {"json": body} if body is not None else {}
        try:
            answer = self._http.request(method, path, params=query, **sent)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise ClientError(f"{self._name} cannot be reached: {str(error) or type(error).__name__}") from None
        if answer.status_code == httpx.codes.NO_CONTENT:
            return {}
        try:
            content: Json = answer.json()
        except ValueError:
            raise ClientError(f"{self._name} answered {answer.status_code}, and not as a dispatcher does") from None
        if not answer.is_success and answer.status_code != also:
            raise ClientError(f"{self._name} answered {answer.status_code}: {content.get('detail', '')}")
        return content
