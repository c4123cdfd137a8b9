"""Amounts of CPU, memory and storage as Kubernetes writes them: `50m`, `96Mi`, `1Gi`.

`workload` and `queue` are made of them. The API server stores each in one canonical form, whatever a person wrote, and
rounds it up to a thousandth: the builders write that form, so that what is live can be compared with what is wanted.
Source: https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from fractions import Fraction
from functools import lru_cache
from typing import Any, Self

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

PATTERN = r"^[0-9]{1,15}(\.[0-9]{1,3})?(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?$"
_PARTS = re.compile(r"([0-9.]+)(?:[eE]([-+]?[0-9]+)|([a-zA-Z]*))")
_LARGEST = 2**53
_THOUSAND = Fraction(1000)

_BINARY = {unit: Fraction(1024) ** power for power, unit in enumerate(("", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"))}
_DECIMAL = {unit: _THOUSAND**power for power, unit in enumerate(("m", "", "k", "M", "G", "T", "P", "E"), start=-1)}
_UNITS = {**_BINARY, **_DECIMAL, "u": _THOUSAND**-2, "n": _THOUSAND**-3}


class Quantity(str):
    """An amount as a person wrote it; a whole number may stand without quotes."""

    __slots__ = ()

    @property
    def amount(self) -> Fraction:
        """The amount, in cores or bytes."""
        number, exponent, unit = self._parts()
        return Fraction(number) * (Fraction(10) ** int(exponent) if exponent else _UNITS[unit])

    @property
    def canonical(self) -> str:
        """The form that the API server stores: no fraction, and the largest unit that allows it."""
        return _canonical(self)

    @property
    def unit(self) -> str:
        """The letters at its end; empty for a plain number."""
        return self._parts()[2]

    def _parts(self) -> tuple[str, str, str]:
        found = _PARTS.fullmatch(self)
        assert found is not None  # noqa: S101  the pattern saw to it, or the API server
        return found[1], found[2] or "", found[3] or ""

    @classmethod
    def _check(cls, value: str) -> Self:
        quantity = cls(value)
        if not 0 < quantity.amount <= _LARGEST:
            raise ValueError("must be more than 0 and at most 8Pi")
        return quantity

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: GetCoreSchemaHandler) -> CoreSchema:
        whole: Callable[[int], str] = str
        written = core_schema.str_schema(pattern=PATTERN, max_length=24, strict=True)
        number = core_schema.no_info_after_validator_function(whole, core_schema.int_schema(ge=1, strict=True))
        return core_schema.no_info_after_validator_function(cls._check, core_schema.union_schema([written, number]))

    @classmethod
    def __get_pydantic_json_schema__(cls, _schema: CoreSchema, _handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {
            "x-kubernetes-int-or-string": True,
            "pattern": PATTERN,
            "maxLength": 24,
            "x-kubernetes-validations": [
                {
                    "rule": "quantity(string(self)).isGreaterThan(quantity('0'))"
                    " && !quantity(string(self)).isGreaterThan(quantity('8Pi'))",
                    "message": "must be a quantity such as 100m, 512Mi or 1Gi: more than 0, at most 8Pi",
                }
            ],
        }


def same_or_less(smaller: str, larger: str) -> str:
    """CEL that compares two quantities, each given as CEL."""
    return f"quantity(string({smaller})).compareTo(quantity(string({larger}))) <= 0"


@lru_cache(maxsize=1024)
def _canonical(quantity: Quantity) -> str:
    # Asked for each container at each look, of the same few amounts.
    amount = Fraction(math.ceil(quantity.amount * 1000), 1000)
    # Below one KiB the server writes bytes, and a fraction of one can only be written decimally.
    binary = quantity.unit.endswith("i") and amount >= _BINARY["Ki"] and amount.denominator == 1
    units = _BINARY if binary else _DECIMAL
    return next(f"{amount / units[one]}{one}" for one in reversed(units) if not amount % units[one])
