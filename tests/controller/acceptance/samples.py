"""Texts, keys and values worth a try, the sound ones apart from those just beyond. `values` chooses among them."""

from __future__ import annotations

from typing import Any

from notification_operator.group import GROUP
from notification_operator.naming import METRICS_LABEL, PIPELINE_LABEL, TEMPLATE_ANNOTATION
from notification_operator.spec.alert_rules import AlertName


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


NAMES = (*_words("crm team mail any a 0 a-b a--b"), "a" * 63)
DURATIONS = (
    *_words(
        "1ms 1s 2m 2m1ms 5m 1h30m 1s1s1s1s 72h 71h59m59s999ms 720h 720h1ms 43200m 2592000000ms 0s 0h0m0s0ms 000000001s"
    ),
    *_words("999999999h 1s1s1s1s1s P1D -5s +5s 1.5h 5 1d 1us"),
    "5 s",
)
LINKS = (*_words("https://runbooks.example.com/{alert} http://x https:// ftp://x https://é"), "https://x y")

SOUND_QUANTITIES = (
    *_words(
        "1 50m 0.5 1.5 0.5m 1.0005 0.001 0001 1k 1000T 1P 0.001E 9P 8Pi 0.001Pi 96Mi 1.5Gi 0.5Ki 1.001Ki 1023.999Ki"
    ),
    *_words("1Gi 1024Mi 1048576Ki 9007199254740992"),
    *(1, 2, 2**53),
)
QUANTITIES = (
    *SOUND_QUANTITIES,
    *_words("1E 8.001Pi 9Pi 1Ei 0 0.000 0m 0Gi -1 +1 .5 1. 1.0001 1e3 1E3 1n 1u 1K 1mi Gi 9007199254740993"),
    *_words("999999999999999E 9999999999999999"),
    *("1 Gi", 0, -1, 2**53 + 1, 1.0, 1.5),
)

SOUND_EXPRESSIONS = (
    *_words(r"a .+ (.*) a|b (?i)A (?P<a>b) (?:a|b)+ [a-z]{2,8}? \w+\.\d* [[:alpha:]_]+ [^\W]+ (a{9}){9} pod|instance"),
    *_words("pipe.* .* pipeline __name__|namespace|pipeline (?i)PIPELINE n.*|p.*|__.*"),
)
EXPRESSIONS = (
    *SOUND_EXPRESSIONS,
    *_words(r"a{2,1} ( ) a)(b a** a|* [z-a] (?=a) \1 a{1001} [[:foo:]] \pL (?P<a>b)(?P<a>c) (?i"),
)

SOUND_KEYS = (*_words("a team A_b example.com/team a.b-c/D_e.f X-Header grafana_folder"), *AlertName, "a" * 63)
KEYS = (
    *SOUND_KEYS,
    *_words(
        "-a a- a/ /a a/b/c Example.com/a a_b/c é __name__ alertname pipeline severity notifier Host content-length"
    ),
    *("", "a b", "a\n", "a" * 64, "a" * 129, f"{'a' * 189}/{'b' * 63}", f"{'a' * 190}/{'b' * 63}"),
    # The operator's own, and those that Kubernetes obeys.
    *(PIPELINE_LABEL, METRICS_LABEL, TEMPLATE_ANNOTATION, f"{GROUP}/x", "pod-template-hash", "kubernetes.io/psp"),
    *_words("app.kubernetes.io/name app.kubernetes.io/version kubernetes.io/config.mirror"),
    *_words("kubectl.kubernetes.io/restartedAt controller.kubernetes.io/pod-deletion-cost"),
    *_words("container.apparmor.security.beta.kubernetes.io/dispatcher seccomp.security.alpha.kubernetes.io/pod"),
    *_words("scheduler.alpha.kubernetes.io/tolerations security.alpha.kubernetes.io/sysctls"),
)

ODD_CHARACTERS = " \n\t\r\0AzZ09-_./:$%&*(){}[]<>\\'\"@#~`|é\u2028\u0130\ufeff\U0001f600"
_SCALARS: tuple[Any, ...] = (None, True, False, 0, 1, -1, 1.0, 1.5, 2**31, 2**63, "", "1", "true", "a")
OTHER_KINDS = (*_SCALARS, [], {}, [None], [[]], [{}], ["a"], ["a", "a"], {"a": None}, {"a": "b"}, {"a": {}})
