"""What the models of the API are made of: durations, names, references to Secrets, and rules in CEL.

`pipeline` and the operator's `spec` build on it. Each rule stands twice on purpose, side by side: as Python, and
as schema or CEL (`x-kubernetes-validations`), so that `kubectl apply` refuses what the code would refuse.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from enum import StrEnum
from functools import lru_cache
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.alias_generators import to_camel
from pydantic_core import CoreSchema, core_schema

DNS_LABEL = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
"""RFC 1123 label: what Kubernetes accepts as a name without dots."""

_DNS_SUBDOMAIN = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"
_SECRET_KEY = r"^[.]?[-_a-zA-Z0-9][-._a-zA-Z0-9]*$"  # noqa: S105  a pattern, not a secret


_UNIT_MILLISECONDS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000}
_DURATION_PART = re.compile(r"([0-9]+)(ms|s|m|h)")
DURATION_PATTERN = r"^([0-9]{1,9}(ms|s|m|h)){1,4}$"
LONGEST = "720h"


@lru_cache(maxsize=1024)
def _milliseconds(duration: str) -> int:
    return sum(int(count) * _UNIT_MILLISECONDS[unit] for count, unit in _DURATION_PART.findall(duration))


class Duration(str):
    """A length of time as Go writes it: `250ms`, `5m`, `1h30m`. More than zero, at most 30 days.

    It stays the string that the person wrote, so that it goes back into an object unchanged.
    """

    __slots__ = ()

    @property
    def milliseconds(self) -> int:
        """The length in whole milliseconds."""
        return _milliseconds(self)

    @property
    def seconds(self) -> float:
        """The length in seconds."""
        return self.milliseconds / 1000

    @property
    def normalised(self) -> str:
        """The same length with each unit at most once, largest first, as Prometheus reads durations: `1h30m`."""
        rest, parts = self.milliseconds, []
        for unit in ("h", "m", "s", "ms"):
            count, rest = divmod(rest, _UNIT_MILLISECONDS[unit])
            if count:
                parts.append(f"{count}{unit}")
        return "".join(parts) or "0s"

    @classmethod
    def _check(cls, value: str) -> Self:
        duration = cls(value)
        if not 0 < duration.milliseconds <= cls(LONGEST).milliseconds:
            raise ValueError("must be more than 0s and at most 720h (30 days)")
        return duration

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(
            cls._check, core_schema.str_schema(pattern=DURATION_PATTERN, max_length=40, strict=True)
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {
            **handler(schema),
            **rule(
                f"self.matches('{DURATION_PATTERN}') && duration(self) > duration('0s')"
                f" && duration(self) <= duration('{LONGEST}')",
                f"must be a duration such as 30s, 5m or 1h30m: more than 0s, at most {LONGEST} (30 days)",
            ),
        }


class DurationOrZero(Duration):
    """A length of time that may be none at all: `0s`."""

    __slots__ = ()

    @classmethod
    def _check(cls, value: str) -> Self:
        duration = cls(value)
        if duration.milliseconds > cls(LONGEST).milliseconds:
            raise ValueError("must be at most 720h (30 days)")
        return duration

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {
            **handler(schema),
            **rule(
                f"self.matches('{DURATION_PATTERN}') && duration(self) <= duration('{LONGEST}')",
                f"must be a duration such as 0s, 5m or 1h30m: at most {LONGEST} (30 days)",
            ),
        }


def rule(expression: str, message: str) -> dict[str, Any]:
    """One CEL rule, as `json_schema_extra` takes it."""
    return {"x-kubernetes-validations": [{"rule": expression, "message": message}]}


def rules(*pairs: tuple[str, str]) -> dict[str, Any]:
    """Several CEL rules for one object, each an (expression, message)."""
    return {"x-kubernetes-validations": [{"rule": expression, "message": message} for expression, message in pairs]}


class ApiModel(BaseModel):
    """A frozen object of the API: camelCase outside, unknown fields refused, no silent conversion of types."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,  # an input can hold a secret
        strict=True,
    )


class Enumeration(StrEnum):
    """A closed set of CamelCase words."""


Name = Annotated[str, Field(pattern=DNS_LABEL, min_length=1, max_length=63)]
LIST_BY_NAME: dict[str, Any] = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}


def duplicates(names: Iterable[str]) -> list[str]:
    """The names that stand more than once, sorted."""
    return sorted(name for name, count in Counter(names).items() if count > 1)


class SecretKeyRef(ApiModel):
    """One key of a Secret in the pipeline's own namespace."""

    name: str = Field(
        pattern=_DNS_SUBDOMAIN, min_length=1, max_length=253, description="Name of the Secret, in the same namespace."
    )
    key: str = Field(
        pattern=_SECRET_KEY, min_length=1, max_length=253, description="Key of the Secret that holds the value."
    )
