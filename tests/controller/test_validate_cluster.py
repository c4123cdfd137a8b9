"""`validate` and the API server give the same verdict on the same text, well-formed or not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from notification_operator import naming
from notification_operator.offline import documents, manifests
from tests.cluster import Cluster, ClusterError
from tests.controller.pipelines import PERSISTENT, POSTGRESQL, SHAPED, manifest
from tests.controller.test_crd import INVALID

REFUSED: list[tuple[str, dict[str, Any]]] = INVALID  # type: ignore[assignment]
HEAD = "apiVersion: notifications.plannivo.io/v1alpha1\nkind: NotificationPipeline\n"
NAMED = f"{HEAD}metadata: {{name: booking}}\n"
CHANNEL = "channels: [{name: crm, webhook: {url: 'https://crm.example.com'}}]"
SPEC = f"spec: {{{CHANNEL}}}\n"
SHORT = json.dumps(manifest())


def with_metadata(metadata: str) -> str:
    return f"{HEAD}metadata: {{{metadata}}}\n{SPEC}"


def with_spec(more: str) -> str:
    return f"{NAMED}spec:\n  {CHANNEL}\n  {more}\n"


def with_channel(channel: str) -> str:
    return f"{NAMED}spec:\n  channels:\n    - {channel}\n"


def large(count: int) -> str:
    """A spec of about `count` times 11 kB."""
    headers = {f"X-Header-{number}": "v" * 700 for number in range(16)}
    one = {"url": "https://crm.example.com/hooks", "headers": headers}
    return json.dumps(manifest(channels=[{"name": f"c{number}", "webhook": one} for number in range(count)]))


GOOD = {
    "the smallest": SHORT,
    "all that shapes the pods": json.dumps(manifest(**SHAPED)),
    "on postgresql": json.dumps(manifest(**POSTGRESQL)),
    "with a volume": json.dumps(manifest(**PERSISTENT)),
    "yaml of kubectl's kind": with_spec("queue: {capacity: 1e3, dedupWindow: 10m}"),
    "octal": with_spec("queue: {capacity: 0x10}"),
    "a whole number with a point": with_spec("queue: {capacity: 5.0}"),
    "underscores": with_spec("queue: {capacity: 1_000}"),
    "yes": with_spec("paused: yes"),
    "y": with_spec("paused: y"),
    "off": with_spec("paused: off"),
    "dates are text": with_spec("podAnnotations: {example.com/since: 2026-01-31}"),
    "base 60 is text": with_spec("podAnnotations: {example.com/at: 1:30}"),
    "quoted numbers are text": with_spec("podLabels: {version: '5'}"),
    "tagged text": with_spec("podLabels: {version: !!str 5}"),
    "a number as a key": with_spec("podLabels: {5: 'a'}"),
    "a boolean as a key": with_spec("podLabels: {yes: 'a'}"),
    "null is left out": with_spec("queue: null"),
    "null with a default": with_spec("queue: {capacity: null}"),
    "null in a map": with_spec("podLabels: {team: null}"),
    "null of an optional": with_spec("autoscaling: ~"),
    "null in metadata": with_metadata("name: booking, labels: null, annotations: {a: null}"),
    "anchors": with_spec("podLabels: &labels {a: b}\n  nodeSelector: *labels"),
    "merges": with_spec("podLabels: &labels {a: b}\n  nodeSelector: {<<: *labels, c: d}"),
    "an empty document before": f"---\n---\n{NAMED}{SPEC}",
    "a byte-order mark": f"\ufeff{NAMED}{SPEC}",
    "labels": with_metadata("name: booking, labels: {app.kubernetes.io/name: booking, empty: ''}"),
    "annotations": with_metadata("name: booking, annotations: {example.com/a: 'x y', b: ''}"),
    "an annotation's key in capitals": with_metadata("name: booking, annotations: {Example.com/Team: CRM}"),
    "an owner": with_metadata("name: booking, ownerReferences: [{apiVersion: v1, kind: Pod, name: a, uid: b}]"),
    "no creation time": with_metadata("name: booking, creationTimestamp: null"),
    "finalizers": with_metadata("name: booking, finalizers: [example.com/keep]"),
    "the longest name": json.dumps(manifest("a" * naming.LONGEST_NAME)),
    "status": f"{NAMED}{SPEC}status: {{ready: 1/1}}\n",
    "large": large(16),
    "a list": json.dumps({"apiVersion": "v1", "kind": "List", "items": [manifest(), manifest("other")]}),
}

BAD = {
    "no name": f"{HEAD}metadata: {{}}\n{SPEC}",
    "no metadata": f"{HEAD}{SPEC}",
    "no spec": NAMED,
    "null spec": f"{NAMED}spec: null\n",
    "empty spec": f"{NAMED}spec: {{}}\n",
    "spec is a list": f"{NAMED}spec: []\n",
    "spec is text": f"{NAMED}spec: all\n",
    "metadata is text": f"{HEAD}metadata: booking\n{SPEC}",
    "wrong group": f"{NAMED}{SPEC}".replace("plannivo.io", "plannivo.com"),
    "wrong version": f"{NAMED}{SPEC}".replace("v1alpha1", "v2"),
    "wrong kind": f"{NAMED}{SPEC}".replace("kind: NotificationPipeline", "kind: NotificationPipelin"),
    "no kind": f"{NAMED}{SPEC}".replace("kind: NotificationPipeline\n", ""),
    "no apiVersion": f"{NAMED}{SPEC}".replace("apiVersion: notifications.plannivo.io/v1alpha1\n", ""),
    "unknown at the top": f"{NAMED}{SPEC}specs: {{}}\n",
    "unknown in the spec": with_spec("nonsense: 1"),
    "unknown and null": with_spec("nonsense: null"),
    "unknown within": with_spec("queue: {capacitty: 5}"),
    "unknown within a list": with_channel("{name: crm, webhook: {url: 'https://crm.example.com', uri: x}}"),
    "unknown in metadata": with_metadata("name: booking, lables: {}"),
    "quoted number": with_spec("queue: {capacity: '5'}"),
    "fraction": with_spec("queue: {capacity: 5.5}"),
    "number for text": with_spec("image: 5"),
    "number for a duration": with_spec("queue: {dedupWindow: 600}"),
    "yes for text": with_spec("podLabels: {debug: yes}"),
    "number for a label": with_spec("podLabels: {version: 5}"),
    "date for a duration": with_spec("queue: {dedupWindow: 2026-01-31}"),
    "text for a boolean": with_spec("paused: 'true'"),
    "number for a boolean": with_spec("paused: 1"),
    "map for a list": f"{NAMED}spec: {{channels: {{name: crm}}}}\n",
    "list for a map": with_spec("queue: []"),
    "null in a list": f"{NAMED}spec: {{channels: [null]}}\n",
    "null for what is required": with_channel("{name: null, webhook: {url: 'https://crm.example.com'}}"),
    "an integer too large": with_spec("queue: {capacity: 99999999999999999999}"),
    "beyond 32 bits": with_spec("api: {maxBodyBytes: 4294967296}"),
    "negative": with_spec("queue: {capacity: -1}"),
    "a name too long": json.dumps(manifest("a" * (naming.LONGEST_NAME + 1))),
    "a name far too long": json.dumps(manifest("a" * 300)),
    "a name with dots": json.dumps(manifest("a.b")),
    "a name with capitals": json.dumps(manifest("Booking")),
    "a name that starts with a digit": json.dumps(manifest("1booking")),
    "a name that is a number": with_metadata("name: 5"),
    "an empty name": with_metadata("name: ''"),
    "a label's number": with_metadata("name: booking, labels: {version: 5}"),
    "a label's value": with_metadata("name: booking, labels: {team: 'a b'}"),
    "a label's prefix in capitals": with_metadata("name: booking, labels: {Example.com/team: x}"),
    "a long annotation's key": with_metadata(f"name: booking, annotations: {{{'a' * 64}: x}}"),
    "many annotations": with_metadata(f"name: booking, annotations: {{a: {'x' * 270_000}}}"),
    "a finalizer": with_metadata("name: booking, finalizers: ['a b']"),
    "an owner without a name": with_metadata("name: booking, ownerReferences: [{apiVersion: v1, kind: Pod, uid: b}]"),
    "an owner that is text": with_metadata("name: booking, ownerReferences: [booking]"),
    "a generation in quotes": with_metadata("name: booking, generation: '5'"),
    "a label's key": with_metadata("name: booking, labels: {'a b': x}"),
    "an annotation's key": with_metadata("name: booking, annotations: {'a b': x}"),
    "an annotation's number": with_metadata("name: booking, annotations: {version: 5}"),
    "a namespace's name": with_metadata("name: booking, namespace: A_b"),
    "another namespace": with_metadata("name: booking, namespace: other"),
    "not YAML": f"{NAMED}spec: {{channels: [}}\n",
    "a tab": f"{NAMED}spec:\n\tchannels: []\n",
    "not a number of JSON": with_spec("queue: {capacity: .inf}"),
    "text alone": "booking\n",
    "a list of objects": f"[{SHORT}]\n",
    "the second of two": f"{NAMED}{SPEC}---\n{NAMED}spec: {{}}\n",
    "one of a list": json.dumps({"apiVersion": "v1", "kind": "List", "items": [manifest(), manifest("a.b")]}),
}

CASES = {
    **GOOD,
    **BAD,
    **{f"{number} {said}": json.dumps(manifest(**spec)) for number, (said, spec) in enumerate(REFUSED)},
}


def findings(text: str, namespace: str) -> list[str]:
    found = documents.parse("booking.yaml", text.encode())
    return [str(wrong) for wrong in manifests.gather(found, namespace).wrong]


@pytest.mark.parametrize("case", CASES)
def test_the_verdict_is_the_api_servers(cluster: Cluster, namespace: str, case: str, tmp_path: Path) -> None:
    path = tmp_path / "booking.yaml"
    path.write_text(CASES[case])
    # Created and not applied: that takes nulls out of the object, unknown ones too, and adds all of it once more as an
    # annotation, which has a limit of its own.
    dry = ("--dry-run=server", "--validate=strict")
    try:
        said = cluster.run_kubectl("-n", namespace, "create", *dry, "-f", path)
        accepted = True
    except ClusterError as error:
        said, accepted = str(error), False
    found = findings(CASES[case], namespace)
    assert accepted == (not found), f"the API server: {said}\nvalidate: {found}"
    assert accepted == (case in GOOD), said


def test_a_key_that_stands_twice_is_refused_though_kubectl_takes_the_last(
    cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    path = tmp_path / "booking.yaml"
    path.write_text(with_spec("queue: {capacity: 5, capacity: 6}"))
    cluster.run_kubectl("-n", namespace, "apply", "--dry-run=server", "--validate=strict", "-f", path)
    assert findings(path.read_text(), namespace) == [
        "booking.yaml, document 1: line 6, column 24: the key capacity stands twice"
    ]


def test_what_is_too_large_for_one_object_is_refused(cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    server = {"smtpURLSecretRef": {"name": "mail", "key": "url"}, "from": "a@example.com"}
    mail = {**server, "to": ["{{ payload.email }}" + " " * 8000] * 32}
    channels = [{"name": f"c{number}", "email": mail} for number in range(7)]
    path = tmp_path / "booking.yaml"
    path.write_text(json.dumps(manifest(channels=channels)))
    with pytest.raises(ClusterError, match="request is too large"):
        cluster.run_kubectl("-n", namespace, "create", "-f", path)
    assert findings(path.read_text(), namespace) == [
        "booking.yaml, document 1, booking: is larger than 1.5 MB, more than the API server stores for one object"
    ]
