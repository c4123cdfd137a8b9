"""Quantities: their canonical form, as the API server writes it."""

from __future__ import annotations

import pytest

from notification_operator.spec.quantity import Quantity


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ("1.5", "1500m"),
        ("1000m", "1"),
        ("0.5m", "1m"),
        ("1.0005", "1001m"),
        ("1000T", "1P"),
        ("0.001E", "1P"),
        ("1024Ti", "1Pi"),
        ("0.001Pi", "1125899906842624m"),
        ("1.5Gi", "1536Mi"),
        ("0.5Ki", "512"),
        ("1.001Ki", "1025024m"),
        ("0001", "1"),
    ],
)
def test_the_canonical_form(written: str, canonical: str) -> None:
    assert Quantity(written).canonical == canonical


@pytest.mark.parametrize(
    ("written", "same"), [("5e9", "5G"), ("1E", "1000P"), ("2E3", "2k"), ("1e-3", "1m"), ("9000000n", "9m")]
)
def test_what_others_write_is_understood(written: str, same: str) -> None:
    assert Quantity(written).amount == Quantity(same).amount
