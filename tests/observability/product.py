"""One pipeline as those see it who watch it: its process, its scrape, its rules and its board, all from one spec.

Everything is taken from the operator's own objects, so that what is proved here is what a cluster gets.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from notification_dispatcher.variables import Variable
from notification_operator.offline import laptop, settings_folder
from notification_operator.offline.given_secrets import GivenSecrets
from notification_operator.offline.laptop import Machine
from notification_operator.pipeline import Pipeline
from notification_operator.resources import desired
from notification_operator.resources.base import Context, Manifest
from tests.dispatcher.dispatcher_process import DispatcherProcess

Groups = list[dict[str, Any]]
_OF_THE_TESTS = (Variable.PORT.value, Variable.LOG_FORMAT.value)
"""What a DispatcherProcess decides by itself."""


@dataclass(frozen=True)
class Product:
    """What the operator makes of one pipeline."""

    pipeline: Pipeline
    slack_url: str
    """Where the dispatcher's alerts go."""

    @cached_property
    def _children(self) -> list[Manifest]:
        return desired(self.pipeline, Context("image:1", slack_alerts={"SLACK_ALERT_WEBHOOK_URL": b"https://x"}))

    def child(self, kind: str, suffix: str = "") -> Manifest:
        """One of its children."""
        wanted = (kind, self.pipeline.name + suffix)
        return next(child for child in self._children if (child["kind"], child["metadata"]["name"]) == wanted)

    @property
    def groups(self) -> Groups:
        """Its rules."""
        groups: Groups = self.child("PrometheusRule")["spec"]["groups"]
        return groups

    @property
    def hastened_groups(self) -> Groups:
        """The same without the minutes that they wait: a group's own interval, and how long an alert goes on firing."""
        return [
            {
                "name": group["name"],
                "rules": [{key: rule[key] for key in rule.keys() - {"keep_firing_for"}} for rule in group["rules"]],
            }
            for group in self.groups
        ]

    @property
    def board(self) -> dict[str, Any]:
        """Its dashboard, as Grafana's sidecar finds it."""
        (text,) = self.child("ConfigMap", "-dashboard")["data"].values()
        board: dict[str, Any] = json.loads(text)
        return board

    def dispatcher(self, folder: Path) -> DispatcherProcess:
        """Its dispatcher, not yet started."""
        folder.mkdir(exist_ok=True)
        machine = Machine(folder, folder / laptop.DATA_VOLUME, port=0)
        for needed in machine.folders:
            needed.mkdir(exist_ok=True)
        layout = laptop.lay_out(self.pipeline, self._secrets, machine)
        assert not layout.missing
        settings_folder.swap(machine.volume(laptop.SETTINGS_VOLUME), layout.files)
        own = {name: value for name, value in layout.environment.items() if name not in _OF_THE_TESTS}
        return DispatcherProcess(folder, own)

    def configure(self, folder: Path, **changes: bytes) -> None:
        """Give the dispatcher that runs in this folder the settings of this pipeline, with some of them changed."""
        machine = Machine(folder, folder / laptop.DATA_VOLUME, port=0)
        files = laptop.lay_out(self.pipeline, self._secrets, machine).files
        settings_folder.swap(machine.volume(laptop.SETTINGS_VOLUME), {**files, **changes})

    def scrape_config(self, address: str) -> dict[str, Any]:
        """The scrape of its dispatcher at this address, as prometheus-operator makes it of the ServiceMonitor.

        What service discovery would find of its Service and its pod is given to a static target, and is relabelled as
        theirs: https://prometheus-operator.dev/docs/developer/getting-started/ and `promcfg.go`.
        """
        monitor = self.child("ServiceMonitor")
        (endpoint,) = monitor["spec"]["endpoints"]
        meta = monitor["metadata"]
        return {
            "job_name": f"serviceMonitor/{meta['namespace']}/{meta['name']}/0",
            "honor_labels": endpoint["honorLabels"],
            "scrape_interval": endpoint["interval"],
            "scrape_timeout": endpoint["scrapeTimeout"],
            "metrics_path": endpoint["path"],
            "static_configs": [{"targets": [address], "labels": self._discovered()}],
            "relabel_configs": _relabelings(monitor["spec"]["selector"]["matchLabels"], endpoint),
        }

    def _discovered(self) -> dict[str, str]:
        """What Prometheus would discover."""
        service = self.child("Service")
        labels = {f"service_label_{_label(name)}": value for name, value in service["metadata"]["labels"].items()}
        present = {f"service_labelpresent_{_label(name)}": "true" for name in service["metadata"]["labels"]}
        pod = f"{self.pipeline.name}-5d5f9-x2k7p"
        found = {
            "namespace": self.pipeline.namespace,
            "service_name": service["metadata"]["name"],
            "endpoint_port_name": service["spec"]["ports"][0]["name"],
            "endpoint_address_target_kind": "Pod",
            "endpoint_address_target_name": pod,
            "pod_name": pod,
            "pod_container_name": self.child("Deployment")["spec"]["template"]["spec"]["containers"][0]["name"],
            "pod_phase": "Running",
            **labels,
            **present,
        }
        return {f"__meta_kubernetes_{name}": value for name, value in found.items()}

    @property
    def _secrets(self) -> GivenSecrets:
        return GivenSecrets([f"slack/url={self.slack_url}"], (), {})


def _relabelings(selected: Mapping[str, str], endpoint: Mapping[str, Any]) -> list[dict[str, Any]]:
    keep = [
        {
            "action": "keep",
            "source_labels": [
                f"__meta_kubernetes_{what}_{_label(name)}" for what in ("service_label", "service_labelpresent")
            ],
            "regex": f"({value});true",
        }
        for name, value in selected.items()
    ]
    copied = {
        "namespace": "namespace",
        "service": "service_name",
        "pod": "pod_name",
        "container": "pod_container_name",
        "job": "service_name",
    }
    return [
        *keep,
        {"action": "keep", "source_labels": ["__meta_kubernetes_endpoint_port_name"], "regex": endpoint["port"]},
        *(
            {"source_labels": [f"__meta_kubernetes_{source}"], "target_label": target}
            for target, source in copied.items()
        ),
        {"target_label": "endpoint", "replacement": endpoint["port"]},
        *({_snake(key): value for key, value in step.items()} for step in endpoint["relabelings"]),
    ]


def _label(name: str) -> str:
    return re.sub(r"[^a-zA-Z0-9_]", "_", name)


def _snake(key: str) -> str:
    return re.sub(r"[A-Z]", lambda found: f"_{found[0].lower()}", key)
