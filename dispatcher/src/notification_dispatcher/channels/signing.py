"""Signatures of webhooks, by which a receiver knows who sent them. `webhook` signs; `settings_source` checks secrets.

Source: Standard Webhooks, github.com/standard-webhooks/standard-webhooks, spec/standard-webhooks.md, symmetric scheme.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Sequence

_PREFIX = "whsec_"
_KEY_BYTES = range(24, 65)


def keys_of(secret: str) -> tuple[bytes, ...]:
    """The keys that a secret holds. Raises ValueError, without any of it, when that is not what it holds."""
    keys = []
    for one in secret.split():
        try:
            key = base64.b64decode(one.removeprefix(_PREFIX), validate=True)
        except binascii.Error:
            raise ValueError("not base64") from None
        if not one.startswith(_PREFIX) or len(key) not in _KEY_BYTES:
            raise ValueError("not a signing secret")
        keys.append(key)
    if not keys:
        raise ValueError("empty")
    return tuple(keys)


def signature(keys: Sequence[bytes], message_id: str, timestamp: int, body: bytes) -> str:
    """The header `webhook-signature`: one signature for each key, so that a receiver may hold the old or the new."""
    signed = f"{message_id}.{timestamp}.".encode() + body
    return " ".join("v1," + base64.b64encode(hmac.digest(key, signed, "sha256")).decode() for key in keys)
