"""What is generated of `deploy/`, by path: `python -m tests.deploy` writes it, and a test compares.

Kustomize's files are made from the chart as it lies there, so that they come second.
"""

from __future__ import annotations

from pathlib import Path

from notification_operator import crd, permissions
from tests.deploy import kustomize, values_file
from tests.deploy.helm import CHART

_KEPT = """  annotations:
    # Its removal would take every pipeline of the cluster with it.
    helm.sh/resource-policy: keep
"""
_ROWS = ("<!-- values -->\n", "<!-- end of values -->\n")


def of_chart() -> dict[Path, str]:
    """Path and text of each file of the chart."""
    readme = CHART / "README.md"
    return {
        CHART / "templates" / "_permissions.tpl": permissions.template(),
        CHART / "templates" / "crds.yaml": _definition(),
        CHART / "values.yaml": values_file.values_file(),
        readme: _between(readme.read_text(), *_ROWS, values_file.table()),
    }


of_kustomize = kustomize.files


def _definition() -> str:
    """The definition as a template: the chart may leave it out, and it outlives the release."""
    head, name, rest = crd.text().replace("{{", '{{ "{{" }}').partition("metadata:\n")
    return f"{{{{- if .Values.crds.install }}}}\n{head}{name}{_KEPT}{rest}{{{{- end }}}}\n"


def _between(text: str, start: str, end: str, new: str) -> str:
    before, _, rest = text.partition(start)
    return f"{before}{start}{new}{end}{rest.partition(end)[2]}"
