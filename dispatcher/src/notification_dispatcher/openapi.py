"""The OpenAPI document, made of the models that requests are decoded with. `app` serves it.

Source: OpenAPI 3.1.1, whose schemas are JSON Schema 2020-12.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from notification_dispatcher import __version__
from notification_dispatcher.dead_letter_api import CURSOR_PATTERN, DeadLetters, Deleted, Replayed, Selection
from notification_dispatcher.http_exchange import Problem
from notification_dispatcher.job import JobReport
from notification_dispatcher.messages import Batch, ItemResult, Results
from notification_dispatcher.metric_names import METRICS_PATH

_MODELS = (Batch, Results, ItemResult, JobReport, Selection, DeadLetters, Replayed, Deleted, Problem)

_Schema = dict[str, Any]

_ID = {"name": "id", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
_LIMIT = {"name": "limit", "in": "query", "schema": {"type": "integer", "minimum": 1, "maximum": 1000}}
_FILTERS = [{"name": name, "in": "query", "schema": {"type": "string"}} for name in ("type", "channel", "reason")]
_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "The same key with the same body gets the same answer, and nothing is taken twice.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 128, "pattern": "^[!-~]([ -~]*[!-~])?$"},
}
_STATE = {"name": "state", "in": "query", "schema": {"enum": ["dead"]}}
_CURSOR = {"name": "cursor", "in": "query", "description": "`nextCursor` of a page"} | {
    "schema": {"type": "string", "pattern": CURSOR_PATTERN}
}
_ALL = {"name": "all", "in": "query", "schema": {"type": "boolean"}}


def document() -> _Schema:
    """The whole document."""
    _, schemas = msgspec.json.schema_components(_MODELS, ref_template="#/components/schemas/{name}")
    schemas["Selection"]["anyOf"] = [
        *({"required": [name], "properties": {name: {"type": "string"}}} for name in ("type", "channel", "reason")),
        {"required": ["all"], "properties": {"all": {"const": True}}},
    ]
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Notification dispatcher",
            "version": __version__,
            "description": "Takes notification jobs, delivers them through channels, and says what became of each.",
        },
        "paths": _paths(),
        "components": {
            "schemas": _portable(schemas),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _paths() -> _Schema:
    post = _operation(
        "Take notifications; a 202 means that what it reports as queued is stored",
        {202: "Results"},
        (400, 408, 413, 415, 422, 429, 503),
        [_KEY],
        "Batch",
    )
    listing = _operation(
        "List dead letters, the latest first", {200: "DeadLetters"}, (400, 503), [_STATE, *_FILTERS, _LIMIT, _CURSOR]
    )
    shown = _operation("Say where a notification is", {200: "JobReport"}, (404, 503), [_ID])
    deleted = _operation("Delete a dead letter", {204: None}, (404, 409, 503), [_ID])
    replayed = _operation("Queue a dead letter again", {202: "Replayed"}, (404, 409, 429, 503), [_ID])
    replay = _operation(
        "Queue dead letters again, the oldest first", {200: "Replayed"}, (400, 408, 413, 415, 503), [], "Selection"
    )
    delete = _operation(
        "Delete dead letters, the oldest first", {200: "Deleted"}, (400, 503), [*_FILTERS, _ALL, _LIMIT]
    )
    test = _operation("Send a test alert to Slack", {200: None}, (409, 502), [])
    return {
        "/api/notifications": {"post": post, "get": listing},
        "/api/notifications/{id}": {"get": shown, "delete": deleted},
        "/api/notifications/{id}/replay": {"post": replayed},
        "/api/dead-letters/replay": {"post": replay},
        "/api/dead-letters": {"delete": delete},
        "/api/alerts/test": {"post": test},
        METRICS_PATH: {"get": _text("The metrics, as Prometheus reads them")},
        "/healthz": {"get": _text("Whether the process turns")},
        "/readyz": {"get": _text("Whether notifications are taken", 503)},
    }


def _operation(
    summary: str,
    answers: Mapping[int, str | None],
    problems: tuple[int, ...],
    parameters: list[_Schema],
    body: str | None = None,
) -> _Schema:
    responses: _Schema = {}
    for status, model in answers.items():
        content = {"application/json": {"schema": _reference(model) if model else {"type": "object"}}}
        responses[str(status)] = {"description": "Done"} | ({} if status == 204 else {"content": content})
    for status in (401, *problems):
        content = {"application/problem+json": {"schema": _reference("Problem")}}
        responses[str(status)] = {"description": "What is wrong, in `detail`", "content": content}
    operation: _Schema = {"summary": summary, "responses": responses, "security": [{}, {"token": []}]}
    if parameters:
        operation["parameters"] = parameters
    if body:
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": _reference(body)}}}
    return operation


def _text(summary: str, *others: int) -> _Schema:
    answer = {"description": "As text", "content": {"text/plain": {"schema": {"type": "string"}}}}
    return {"summary": summary, "responses": {str(status): answer for status in (200, *others)}}


def _reference(model: str) -> _Schema:
    return {"$ref": f"#/components/schemas/{model}"}


def _portable(schema: Any) -> Any:
    """JSON Schema has ECMAScript's expressions, in which an end is `$`; Python's `$` lets a line break pass."""
    if isinstance(schema, dict):
        return {
            name: value.replace(r"\Z", "$") if name == "pattern" and isinstance(value, str) else _portable(value)
            for name, value in schema.items()
        }
    return [_portable(one) for one in schema] if isinstance(schema, list) else schema
