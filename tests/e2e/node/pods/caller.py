"""Runs in a pod: sends notifications to a Service for a while, and prints those that were accepted, as JSON.

Usage: caller.py URL PREFIX BATCHES SECONDS_BETWEEN. With 0 it sends batches until its standard input ends. What isn't
answered is sent again under the same ids, as a careful caller does, for a minute at most. Standard library alone.
"""

import json
import sys
import threading
import time
import urllib.request
from contextlib import suppress

BATCH = 5
PATIENCE_SECONDS = 60.0

url, prefix, batches, pause = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
accepted: list[str] = []
failures = 0


def post(ids: list[str]) -> bool:
    """Send one batch; a connection of its own, as many callers would have."""
    jobs = [{"id": one, "type": "booking-created", "payload": {"student": "Ada"}} for one in ids]
    body = json.dumps({"notifications": jobs}).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json", "Connection": "close"})  # noqa: S310
    with suppress(OSError), urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310
        results = json.load(answer)["results"]
        accepted.extend(one["id"] for one in results if one["status"] in {"queued", "deduplicated"})
        return True
    return False


def listen() -> None:
    """Wait until nobody speaks to it any longer."""
    sys.stdin.read()
    ended.set()


ended, sent = threading.Event(), 0
if not batches:
    threading.Thread(target=listen, daemon=True).start()
while sent < batches * BATCH if batches else not ended.is_set():
    number = sent // BATCH
    ids = [f"{prefix}-{number}-{one}" for one in range(BATCH)]
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not post(ids) and time.monotonic() < deadline:
        failures += 1
        time.sleep(0.2)
    sent += BATCH
    time.sleep(pause)
print(json.dumps({"sent": sent, "accepted": accepted, "failures": failures}))  # noqa: T201
