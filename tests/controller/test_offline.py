"""`validate` and `render` as commands: what they say, where, and what they end with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from notification_operator.__main__ import main
from tests.cluster import Cluster
from tests.controller.pipelines import PERSISTENT, POSTGRESQL, SHAPED, apply, eventually, get, manifest, ready
from tests.controller.pipelines import slack_secret as make_slack_secret
from tests.operator_process import OperatorProcess

SAMPLE = Path(__file__).parents[2] / "deploy" / "samples" / "booking.yaml"
OTHER = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: other}\n---\n"


def run(*arguments: str | Path, stdin: Any = None, **environment: str) -> Result:
    text = stdin if isinstance(stdin, str) else json.dumps(stdin)
    variables = {f"NOTIFICATION_OPERATOR_{name}": value for name, value in environment.items()}
    return CliRunner().invoke(main, [str(argument) for argument in arguments], input=text, env=variables)


def test_valid_pipelines_of_several_files_and_other_objects() -> None:
    answer = run("validate", "-f", SAMPLE, "-f", "-", stdin=OTHER + json.dumps(manifest("second")))
    assert answer.exit_code == 0
    assert answer.stdout.splitlines() == [
        f"{SAMPLE}, document 1, booking: valid",
        "standard input, document 2, second: valid",
    ]
    assert answer.stderr == "standard input, document 1: ConfigMap other is no NotificationPipeline: skipped\n"


def test_every_finding_names_file_document_field_and_fix(tmp_path: Path) -> None:
    wrong = manifest(alerts={"failureThreshold": "5", "slackk": {}}, queue={"overflow": "Explode"})
    wrong["spec"]["channels"] = [{"name": "crm", "webhook": {"url": "ftp://crm"}}]
    path = tmp_path / "wrong.yaml"
    path.write_text(f"{json.dumps(manifest('fine'))}\n---\n{json.dumps(wrong)}\n")
    answer = run("validate", "-f", path)
    assert answer.exit_code == 1
    said = answer.stdout
    head = f"{path}, document 2, booking: spec."
    assert f"{head}channels[0].webhook.url: must match ^https?://" in said
    assert "Where to POST: an http or https URL" in said
    assert f"{head}alerts.failureThreshold: must be a whole number, without quotes" in said
    assert f"{head}alerts.slackk: unknown field: did you mean slack?" in said
    assert f"{head}queue.overflow: must be one of 'EvictOldest' or 'Reject'" in said
    assert f"{path}, document 1, fine: valid" in said
    assert len(said.splitlines()) == 5

    found = json.loads(run("validate", "-f", path, "-o", "json").stdout)
    assert {tuple(one) for one in found} == {("file", "document", "name", "field", "message")}
    assert [one["field"] for one in found if "url" in one["field"]] == ["spec.channels[0].webhook.url"]
    assert {(one["file"], one["document"], one["name"]) for one in found} == {(str(path), 2, "booking")}


def test_rules_between_fields_name_their_object() -> None:
    answer = run("validate", "-f", "-", stdin=manifest(**POSTGRESQL, replicas=2, autoscaling={}))
    assert "booking: spec: replicas and autoscaling exclude each other" in answer.stdout
    answer = run("validate", "-f", "-", stdin=manifest(channels=[{"name": "crm"}]))
    assert "spec.channels[0]: a channel must have exactly one of webhook, slack, email and apprise" in answer.stdout
    assert "must have at least 1" not in answer.stdout


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("spec: [\n", "standard input, document 1: line 2, column 1: "),
        ("a: 1\nb: 2\na: 3\n", "document 1: line 3, column 1: the key a stands twice"),
        ('{"a": 1, "a": 2}', "the key a stands twice"),
        ("a: &b [*b]\n", "aliases that stand for too much"),
        (OTHER, "there is no NotificationPipeline in it"),
        ("", "there is no NotificationPipeline in it"),
        ("a: !python/object:os.system x\n", "a tag that has no meaning here"),
        (f"{json.dumps(manifest())}\n---\n{{", "document 2: line"),
    ],
)
def test_what_cannot_be_read_is_said_with_its_place(text: str, said: str) -> None:
    text = text.replace("!python", "!!python")
    answer = run("validate", "-f", "-", stdin=text)
    assert answer.exit_code == 1
    assert said in answer.stdout


def test_bytes_that_are_no_text_and_values_beyond_all_bounds() -> None:
    answer = CliRunner().invoke(main, ["validate", "-f", "-"], input=b"a: \xff\n")
    assert (answer.exit_code, "is not text in UTF-8: byte 4" in answer.stdout) == (1, True)
    laughs = "a0: &a0 x\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 9))
    assert "aliases that stand for too much" in run("validate", "-f", "-", stdin=laughs).stdout


def test_no_value_is_repeated() -> None:
    canary = "sUp3rS3cr3tCanary"
    wrong = manifest(image=f"{canary} {canary}", env=[{"name": "A", "value": f"{canary}\0"}], paused=canary)
    for command in ("validate", "render"):
        answer = run(command, "-f", "-", stdin=wrong)
        assert answer.exit_code == 1
        assert "spec.image" in answer.output
        assert canary not in answer.output


def test_wrong_usage_ends_with_two() -> None:
    assert run("validate").exit_code == 2
    assert run("render", "-f", "no-such-file.yaml").exit_code == 2
    assert run("render", "-f", SAMPLE, "-o", "xml").exit_code == 2


def test_rendering_is_the_same_each_time_and_holds_no_secret_and_no_owner() -> None:
    first, second = run("render", "-f", SAMPLE), run("render", "-f", SAMPLE)
    assert first.exit_code == 0
    assert first.stdout == second.stdout
    made = list(yaml.safe_load_all(first.stdout))
    assert [one["kind"] for one in made][:3] == ["ServiceAccount", "ConfigMap", "Secret"]
    assert all("ownerReferences" not in one["metadata"] for one in made)
    secrets = {one["metadata"]["name"]: one for one in made if one["kind"] == "Secret"}
    assert secrets["booking-slack-alerts"]["stringData"] == {
        "SLACK_ALERT_WEBHOOK_URL": "<from Secret slack, key alerts>"
    }
    assert (
        secrets["booking-credentials"]["stringData"]["crm.urlSecretRef"] == "<from Secret booking-receivers, key crm>"
    )
    assert json.loads(run("render", "-f", SAMPLE, "-o", "json").stdout)["items"] == made


def test_namespace_and_image_come_from_flags_or_the_environment() -> None:
    made = list(yaml.safe_load_all(run("render", "-f", SAMPLE, NAMESPACE="school", DISPATCHER_IMAGE="mine:1").stdout))
    assert {one["metadata"]["namespace"] for one in made} == {"school"}
    (deployment,) = [one for one in made if one["kind"] == "Deployment"]
    assert deployment["spec"]["template"]["spec"]["containers"][0]["image"] == "mine:1"
    named = manifest()
    named["metadata"]["namespace"] = "school"
    assert run("render", "-f", "-", "-n", "school", stdin=named).exit_code == 0
    answer = run("render", "-f", "-", "-n", "other", stdin=named)
    assert answer.exit_code == 1
    assert "metadata.namespace: is school, and --namespace is other" in answer.stderr
    assert answer.stdout == ""


def test_with_keda_it_scales() -> None:
    def kinds(*options: str) -> set[str]:
        answer = run("render", "-f", "-", *options, stdin=manifest(**POSTGRESQL, autoscaling={}))
        return {one["kind"] for one in yaml.safe_load_all(answer.stdout)}

    assert kinds("--keda") - kinds() == {"ScaledObject", "TriggerAuthentication"}
    assert kinds() - kinds("--keda") == {"HorizontalPodAutoscaler"}


@pytest.mark.parametrize("spec", [{}, SHAPED, PERSISTENT], ids=["smallest", "shaped", "persistent"])
def test_what_is_rendered_is_what_the_operator_makes(
    cluster: Cluster, namespace: str, operator: OperatorProcess, spec: dict[str, Any]
) -> None:
    make_slack_secret(cluster, namespace)
    apply(cluster, namespace, manifest(**spec))
    answer = run("render", "-n", namespace, "-o", "json", "-f", "-", stdin=manifest(**spec))
    children = json.loads(answer.stdout)["items"]
    if not spec:
        ready(cluster, namespace)
    names = [f"{one['kind']}/{one['metadata']['name']}" for one in children]
    eventually(lambda: all(get(cluster, namespace, name) for name in names), "every child is there")
    # A Secret differs in what it holds, on purpose.
    shown = [one for one in children if one["kind"] != "Secret"]
    cluster.run_kubectl("diff", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": shown}))
