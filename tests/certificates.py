"""Certificates for tests' servers on 127.0.0.1, by openssl. Each is a CA of its own, and signed by itself."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import NamedTuple


class Certificate(NamedTuple):
    """PEM files."""

    certificate: Path
    key: Path


def self_signed(folder: Path, name: str) -> Certificate:
    """One for a few days, of this name."""
    made = Certificate(folder / f"{name}.crt", folder / f"{name}.key")
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "2",
    ]
    names = ["-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"]
    files = ["-out", str(made.certificate), "-keyout", str(made.key)]
    subprocess.run([*command, *names, *files], check=True, stderr=subprocess.DEVNULL)
    return made
