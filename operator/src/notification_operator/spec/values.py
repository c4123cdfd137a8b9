"""What several parts of the spec are made of: labels and links, each with the rule that the API server checks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from notification_dispatcher.schema import rule

LABEL_KEY = r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$"
LABEL_VALUE = r"^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$"
LINK = r"^(https?://[!-~]+)?$"
"""An http or https URL, or nothing."""

Labels = Annotated[
    Mapping[
        Annotated[str, Field(pattern=LABEL_KEY, max_length=317)],
        Annotated[str, Field(pattern=LABEL_VALUE, max_length=63)],
    ],
    Field(
        max_length=32,
        json_schema_extra=rule(
            f"self.all(key, key.matches('{LABEL_KEY}') && size(key) <= 317)",
            "each key must be a Kubernetes label key, such as release or example.com/team",
        ),
    ),
]
