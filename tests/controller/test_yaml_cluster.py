"""The YAML reader and kubectl's own: the same JSON for the same text, odd scalars included."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from notification_operator.offline import yaml_reader
from notification_operator.offline.yaml_reader import YamlError
from tests.cluster import Cluster, ClusterError

HEAD = "apiVersion: notifications.plannivo.io/v1alpha1\nkind: NotificationPipeline\nmetadata: {name: booking}\nspec:\n"
SCALARS = """
~ null Null NULL nULL true True TRUE tRUE yes Yes YES y Y on On ON no No NO n N off Off OFF false
0 -0 +0 00 0777 -0777 08 09 0x1f 0X1F -0x1F 0xg 0o17 0O17 0o8 0b11 0B11 -0b11 0b12 1_000 _1 1_ 1__0 0_7 0x_f
1e3 1E3 1e+3 1e-3 1.5e3 1. .5 -.5 +.5 +5 5.0 5.50 1.0e2 1e400 -1e400 1e-400 1e21 1e20 1.5e300 0.1 .1e1 .e1 . .. -. +
.inf .Inf .INF1 -.infx .nan1 inf nan NaN Infinity 1.2.3 1e 1e+ e1 1_0.5 1__0.5_0 ._5 .5_0
1:30 12:30:45 1:30.5 2026-01-31 2026-1-1 2026-01-31T12:00:00Z 2026-13-45 20260131 0000-00-00
9007199254740993 9223372036854775807 9223372036854775808 -9223372036854775808 -9223372036854775809
18446744073709551615 18446744073709551616 123456789012345678901234567890
10m 1h30m 50m 512Mi 1Gi 100% v1 1.x a~b <<x x<< = == @x `x` 'x' 'it''s' "a\\tb" "\\u00e9" "\\x41" é ☃ -x --x a#b a:b
'5' "true" !!str 5 !!str true !!int 5 !!float 5 !!float 5.5 !!bool yes !!null ~ !!timestamp 2026-01-31
"""
REFUSED = ("{a: .inf}", "{a: .nan}", "{~: 1}", "{[a]: 1}", "[", "{a: b: c}", "*none", "\ta: 1", "!!int x", "a: 'x")
BLOCKS = (
    "a: |\n  one\n  two\n",
    "a: >-\n  one\n  two\n\n  three\n",
    "a: &x {b: 1, c: 2}\nd: *x\ne: {<<: *x, c: 3, <<: {f: 4}}\n",
    "a: &x {b: 1, c: 2}\ne: {<<: [*x, {b: 5, g: 6}], c: 3}\n",
    "1: a\n1.5: b\nyes: c\n0x10: d\n2026-01-31: e\n",
    "a:\n- b\n-   c: 1\n    d: 2\n- - e\n",
    "? a\n: b\n",
    "a: 'x\n  y'\nb: \"x\\\n  y\"\n",
    "a: b # c\n# d\n",
    "a:\n",
)


def scalars() -> list[str]:
    found: list[str] = []
    for word in SCALARS.split():
        if found and found[-1].startswith("!!") and " " not in found[-1]:
            found[-1] += f" {word}"
        else:
            found.append(word)
    return found


def invented(count: int) -> list[str]:
    """Words of the characters that numbers are made of."""
    choose = random.Random(20260131)
    return ["".join(choose.choices("0123456789._-+eExobf:", k=choose.randint(1, 7))) for _ in range(count)]


def kubectls(cluster: Cluster, text: str) -> Any:
    made = cluster.run_kubectl("create", "--dry-run=client", "--validate=false", "-o", "json", "-f", "-", stdin=text)
    return json.loads(made)["spec"]


def ours(text: str) -> Any:
    (document,) = yaml_reader.read(text)
    return document["spec"]


def typed(value: Any) -> Any:
    """With a whole number's type told apart from a boolean's, and not from a float's: JSON has one kind of number."""
    if isinstance(value, dict):
        return {key: typed(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [typed(inner) for inner in value]
    return ("number", float(value)) if isinstance(value, (int, float)) and not isinstance(value, bool) else value


def readable(word: str) -> bool:
    """Whether it is a scalar at all; kubectl is asked of those alone, all in one."""
    try:
        return not isinstance(ours(f"{HEAD}  a: {word}\n")["a"], (dict, list))
    except YamlError:
        return False


def test_scalars_are_what_they_are_for_kubectl(cluster: Cluster) -> None:
    words = [word for word in (*scalars(), *invented(3000)) if readable(word)]
    assert len(words) > 2500
    text = HEAD + "".join(f"  k{number}: {word}\n" for number, word in enumerate(words))
    expected, found = typed(kubectls(cluster, text)), typed(ours(text))
    different = {
        word: (found.get(f"k{number}"), expected.get(f"k{number}"))
        for number, word in enumerate(words)
        if found.get(f"k{number}") != expected.get(f"k{number}")
    }
    assert different == {}


def test_mappings_keys_merges_and_blocks_are_what_they_are_for_kubectl(cluster: Cluster) -> None:
    for block in BLOCKS:
        text = HEAD + "".join(f"  {line}\n" for line in block.splitlines())
        assert typed(ours(text)) == typed(kubectls(cluster, text)), block


def test_what_kubectl_cannot_read_is_refused(cluster: Cluster) -> None:
    for value in REFUSED:
        text = f"{HEAD}  k: {value}\n"
        with pytest.raises(ClusterError):
            kubectls(cluster, text)
        with pytest.raises(YamlError):
            ours(text)
