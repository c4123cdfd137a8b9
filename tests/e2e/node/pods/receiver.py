"""Runs in a pod: takes notifications, and tells which ones came and how often. Standard library alone."""

import json
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

delivered: Counter[str] = Counter()
alerts: list[str] = []
lock = threading.Lock()


class Receiver(BaseHTTPRequestHandler):
    """POST /slack is Slack, any other path takes notifications; GET tells."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Take one."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with lock:
            if self.path == "/slack":
                alerts.append(body["text"])
            else:
                delivered[body["id"]] += 1
        self._answer({})

    def do_GET(self) -> None:
        """Tell all."""
        with lock:
            self._answer({"delivered": delivered, "alerts": alerts})

    def _answer(self, found: object) -> None:
        text = json.dumps(found).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing of each request."""


ThreadingHTTPServer(("", 8080), Receiver).serve_forever()
