"""What Secrets hold, where there is no cluster to ask: flags, files of manifests, environment variables, in this order.

`dev_command` makes one, `laptop` asks it. No value stands in a message.
"""

from __future__ import annotations

import binascii
import re
from base64 import b64decode
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from notification_dispatcher.schema import SecretKeyRef
from notification_operator.errors import SettingsError
from notification_operator.kinds import SECRET
from notification_operator.offline import documents
from notification_operator.offline.documents import Document, Unreadable
from notification_operator.settings import ENVIRONMENT_PREFIX

_FLAG = re.compile(r"([^/=]+)/([^/=]+)=(.+)", re.DOTALL)

Values = dict[tuple[str, str], bytes]


class GivenSecrets:
    """The values that were given, by Secret and key."""

    def __init__(self, flags: Iterable[str], files: Iterable[Path], environment: Mapping[str, str]) -> None:
        self.files = tuple(files)
        self._flags = dict(map(_parsed, flags))
        self._environment = environment
        self._from_files: Values = {}

    def load(self) -> None:
        """Read the files again. Raises SettingsError, and then keeps what it had."""
        self._from_files = {
            (name, key): value
            for path in self.files
            for found in documents.read([str(path)])
            for name, key, value in _values(found)
        }

    def find(self, ref: SecretKeyRef) -> bytes | None:
        """What the reference stands for; None when it was not given."""
        place = (ref.name, ref.key)
        text = self._environment.get(variable(ref))
        given = self._flags.get(place) or self._from_files.get(place)
        return given or (text.encode() if text else None)


def variable(ref: SecretKeyRef) -> str:
    """The environment variable that may hold it: NOTIFICATION_OPERATOR_SECRET_SLACK_URL for the key url of slack."""
    return f"{ENVIRONMENT_PREFIX}_SECRET_{re.sub('[^A-Z0-9]', '_', f'{ref.name}_{ref.key}'.upper())}"


def how_to_give(ref: SecretKeyRef) -> str:
    """What to do about one that was not given."""
    return f"give --secret {ref.name}/{ref.key}=…, --secrets-from FILE or {variable(ref)}"


def _parsed(flag: str) -> tuple[tuple[str, str], bytes]:
    found = _FLAG.fullmatch(flag)
    if found is None:
        raise SettingsError("--secret must be NAME/KEY=VALUE, such as slack/url=https://…: one of them is not")
    name, key, value = found.groups()
    return (name, key), value.encode()


def _values(found: Document | Unreadable) -> Iterator[tuple[str, str, bytes]]:
    if isinstance(found, Unreadable):
        raise SettingsError(f"{found.place}: {found.finding}")
    if found.kind != SECRET.name:
        return
    for field, read in (("data", _decoded), ("stringData", str.encode)):
        for key, value in _mapping(found, field).items():
            try:
                yield found.name, key, read(value)
            except (TypeError, AttributeError, binascii.Error):
                raise SettingsError(f"{found.place}, Secret {found.name}: {field}.{key} is wrong") from None


def _mapping(found: Document, field: str) -> Mapping[str, Any]:
    value = found.content.get(field) or {}
    if not isinstance(value, Mapping):
        raise SettingsError(f"{found.place}, Secret {found.name}: {field} must be a mapping")
    return value


def _decoded(value: str) -> bytes:
    return b64decode(value, validate=True)
