"""Just enough HTTP/1.1 for the loader and the receiver: raw, so that neither is what is measured."""

from __future__ import annotations


def split(buffer: bytes) -> tuple[bytes, bytes, bytes] | None:
    """Head, body and what follows of the first whole message; None while it isn't whole."""
    end = buffer.find(b"\r\n\r\n")
    if end < 0:
        return None
    head = buffer[:end].lower()
    at = head.find(b"content-length:")
    length = 0 if at < 0 else int(head[at + 15 : (head + b"\r\n").find(b"\r\n", at)])
    whole = end + 4 + length
    if len(buffer) < whole:
        return None
    return head, buffer[end + 4 : whole], buffer[whole:]
