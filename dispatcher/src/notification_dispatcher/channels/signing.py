"""Signatures of webhooks, by which a receiver knows who sent them. `webhook` signs.

Source: Standard Webhooks, github.com/standard-webhooks/standard-webhooks, spec/standard-webhooks.md, symmetric scheme.
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Sequence


def signature(keys: Sequence[bytes], message_id: str, timestamp: int, body: bytes) -> str:
    """The header `webhook-signature`: one signature for each key, so that a receiver may hold the old or the new."""
    signed = f"{message_id}.{timestamp}.".encode() + body
    return " ".join("v1," + base64.b64encode(hmac.digest(key, signed, "sha256")).decode() for key in keys)
