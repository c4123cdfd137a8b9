"""Settings: defaults, the folder and the environment, and sentences for what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from notification_dispatcher import help_text
from notification_dispatcher.errors import SettingsError
from notification_dispatcher.queues.base import Overflow
from notification_dispatcher.retry import RetryPolicy
from notification_dispatcher.routes import Routes
from notification_dispatcher.settings import variables
from notification_dispatcher.settings_source import read
from notification_dispatcher.variables import Variable
from notification_operator.offline.settings_folder import swap

CANARY = "https://hooks.slack.com/services/T0CANARY/B0CANARY/sUp3rS3cr3tCanary"


def problems(environment: dict[str, str]) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        read(environment)
    return caught.value.problems


def test_the_guides_defaults() -> None:
    live = read({}).live
    assert live.failure_threshold == 20
    assert live.failure_window_ms == 300_000
    assert live.backlog_threshold == 500
    assert live.latency_threshold_ms == 5_000
    assert live.cooldown_ms == 300_000
    assert live.alert_url is None


def test_the_guides_fallback() -> None:
    assert read({"SLACK_WEBHOOK_URL": "https://b/"}).live.alert_url == "https://b/"
    both = {"SLACK_WEBHOOK_URL": "https://b/", "SLACK_ALERT_WEBHOOK_URL": "https://a/"}
    assert read(both).live.alert_url == "https://a/"
    assert read({**both, "SLACK_ALERT_WEBHOOK_URL": ""}).live.alert_url == "https://b/"


def test_every_variable_is_read_and_explained() -> None:
    told = {variable for variable, _, _ in variables()} | {Variable.CONFIG_DIR, Variable.PIPELINE_FILE}
    assert told == set(Variable)
    assert all(variable.value in help_text.VARIABLES for variable in Variable)
    assert all(field.description for _, field, _ in variables())


def test_the_folder_wins_and_one_newline_is_stripped(tmp_path: Path) -> None:
    (tmp_path / Variable.ALERT_FAILURE_THRESHOLD).write_text("7\n")
    (tmp_path / Variable.ALERT_RUNBOOK_URL).write_text("")
    (tmp_path / "..hidden").write_text("x")
    environment = {
        Variable.CONFIG_DIR: str(tmp_path),
        Variable.ALERT_FAILURE_THRESHOLD: "9",
        Variable.ALERT_BACKLOG_THRESHOLD: "11",
        Variable.QUEUE_OVERFLOW: "reject",
    }
    live = read({str(name): value for name, value in environment.items()}).live
    assert (live.failure_threshold, live.backlog_threshold) == (7, 11)
    assert live.limits == (10_000, Overflow.REJECT, 600_000)


def test_a_kubelets_folder_is_read_through_its_link(tmp_path: Path) -> None:
    swap(tmp_path, {Variable.ALERT_FAILURE_THRESHOLD: b"7"})
    assert read({"NOTIFICATION_CONFIG_DIR": str(tmp_path)}).live.failure_threshold == 7
    swap(tmp_path, {Variable.ALERT_FAILURE_THRESHOLD: b"8"})
    assert read({"NOTIFICATION_CONFIG_DIR": str(tmp_path)}).live.failure_threshold == 8


@pytest.mark.parametrize(
    ("variable", "value", "sentence"),
    [
        ("NOTIFICATION_PORT", "http", "must be a whole number from 0 to 65535, and is 'http'. The default is 4000."),
        ("NOTIFICATION_PORT", "65536", "must be a whole number from 0 to 65535, and is '65536'. The default is 4000."),
        ("NOTIFICATION_ALERT_FAILURE_THRESHOLD", "0", "must be a whole number from 1 to 10000000, and is '0'."),
        ("NOTIFICATION_ALERT_FAILURE_WINDOW_MS", "5m", "must be a whole number of milliseconds from 1 to 2592000000"),
        ("NOTIFICATION_QUEUE_ENGINE", "redis", "must be sqlite, postgresql or memory, and is 'redis'. The default is"),
        ("NOTIFICATION_QUEUE_SCHEMA", "Booking", "must be lower-case letters, digits and underscores, at most 63, the"),
        ("NOTIFICATION_QUEUE_POOL_SIZE", "0", "must be a whole number from 1 to 64, and is '0'. The default is 4."),
        ("NOTIFICATION_QUEUE_OVERFLOW", "EvictOldest", "must be evict-oldest or reject, and is 'EvictOldest'."),
        ("NOTIFICATION_METRICS_PREFIX", "Acme", "must be lower-case letters, digits and underscores, the last one"),
        ("NOTIFICATION_ALERT_RUNBOOK_URL", "wiki", "must be an http:// or https:// URL, or empty, and is 'wiki'."),
        ("NOTIFICATION_LOG_LEVEL", "loud", "must be debug, info, warning or error, and is 'loud'."),
    ],
)
def test_a_wrong_value_is_told_with_what_is_right(variable: str, value: str, sentence: str) -> None:
    (told,) = problems({variable: value})
    assert told.startswith(f"{variable} {sentence}")


def test_all_problems_are_told_at_once() -> None:
    wrong = {"NOTIFICATION_PORT": "x", "NOTIFICATION_RETRY_MAX_ATTEMPTS": "0", "NOTIFICATION_PIPELINE_FILE": "/none"}
    told = problems(wrong)
    assert [sentence.split()[0].rstrip(":") for sentence in told] == [
        "NOTIFICATION_PIPELINE_FILE",
        "NOTIFICATION_PORT",
        "NOTIFICATION_RETRY_MAX_ATTEMPTS",
    ]


@pytest.mark.parametrize(
    "url", ["sUp3rS3cr3t", "ftp://x/sUp3rS3cr3t", "https://u:sUp3rS3cr3t@x/", "https://x/ sUp3rS3cr3t"]
)
def test_a_wrong_secret_is_told_without_its_value(url: str) -> None:
    (told,) = problems({"SLACK_WEBHOOK_URL": url})
    assert told.startswith("SLACK_WEBHOOK_URL must be an http:// or https:// URL without a user name, and is set to")
    assert "sUp3rS3cr3t" not in told


@pytest.mark.parametrize(
    "dsn",
    [
        "sUp3rS3cr3t",
        "mysql://u:sUp3rS3cr3t@db/booking",
        "postgresql://u:sUp3rS3cr3t@db",
        "postgresql://u:sUp3rS3cr3t@db/book ing",
        "host=db password=sUp3rS3cr3t",
    ],
)
def test_a_wrong_dsn_is_told_without_its_value(dsn: str) -> None:
    (told,) = problems({"NOTIFICATION_QUEUE_ENGINE": "postgresql", "NOTIFICATION_QUEUE_DSN": dsn})
    assert told.startswith("NOTIFICATION_QUEUE_DSN must be postgresql://user:password@host:5432/database, and is set")
    assert "sUp3rS3cr3t" not in told


@pytest.mark.parametrize(
    "dsn",
    [
        "postgresql://u:p%40ss@db:5432/booking",
        "postgres://u@db/booking?sslmode=require",
        "postgresql://u:p@one:5432,two:5433/booking?target_session_attrs=read-write",
        "postgresql://u:p@[2001:db8::1]:5432/booking",
        "postgresql:///booking?host=/var/run/postgresql",
    ],
)
def test_a_dsn_is_taken(dsn: str) -> None:
    settings = read({"NOTIFICATION_QUEUE_ENGINE": "postgresql", "NOTIFICATION_QUEUE_DSN": dsn})
    assert settings.live.queue_dsn is not None
    assert settings.live.queue_dsn.get_secret_value() == dsn
    assert dsn not in repr(settings) + help_text.in_force(settings) + help_text.in_force_json(settings)


def test_postgresql_needs_a_dsn() -> None:
    (told,) = problems({"NOTIFICATION_QUEUE_ENGINE": "postgresql"})
    assert told.startswith("NOTIFICATION_QUEUE_DSN must be set when NOTIFICATION_QUEUE_ENGINE is postgresql")


def test_a_ca_is_a_certificate() -> None:
    (told,) = problems({"NOTIFICATION_QUEUE_CA": "-----BEGIN CERTIFICATE-----"})
    assert told.startswith("NOTIFICATION_QUEUE_CA must be the CA's certificate as PEM text")


def test_a_wrong_channel_secret_is_told_by_its_file(tmp_path: Path) -> None:
    routing = '{"channels": [{"name": "team", "slack": {"webhookSecretRef": {"name": "s", "key": "k"}}}]}'
    swap(tmp_path, {"pipeline.json": routing.encode(), "team.webhookSecretRef": b"sUp3rS3cr3t"})
    (told,) = problems({"NOTIFICATION_CONFIG_DIR": str(tmp_path)})
    assert told.startswith("team.webhookSecretRef must hold an http:// or https:// URL")
    assert "sUp3rS3cr3t" not in told


def test_no_secret_is_shown(tmp_path: Path) -> None:
    routing = '{"channels": [{"name": "team", "slack": {"webhookSecretRef": {"name": "s", "key": "k"}}}]}'
    swap(tmp_path, {"pipeline.json": routing.encode(), "team.webhookSecretRef": CANARY.encode()})
    settings = read(
        {
            "NOTIFICATION_CONFIG_DIR": str(tmp_path),
            "SLACK_WEBHOOK_URL": CANARY,
            "SLACK_ALERT_WEBHOOK_URL": CANARY,
            "NOTIFICATION_API_TOKEN": CANARY,
        }
    )
    shown = [repr(settings), str(settings), help_text.in_force(settings), help_text.in_force_json(settings)]
    assert "CANARY" not in "".join(shown).upper().replace("B0CANARY", "CANARY")
    assert settings.live.channel_secret("team", "webhookSecretRef") == CANARY


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("channels: [", "pipeline.yaml, line 1 is neither JSON nor YAML."),
        ("channels: 5", "pipeline.yaml: channels: Input should be a valid array."),
        (
            "channels: [{name: a}]",
            "pipeline.yaml: channels.0: a channel must have exactly one of webhook, slack, email and apprise.",
        ),
        ("jobTypes: [{name: a, channels: [b]}]", "pipeline.yaml: jobTypes[a].channels: there is no channel named b."),
        ("jobTyps: []", "pipeline.yaml: jobTyps: Extra inputs are not permitted."),
        ("channels: [2026-01-01]", "pipeline.yaml has values that JSON does not know, or is not UTF-8."),
    ],
)
def test_a_wrong_pipeline_file_is_told_with_the_field(tmp_path: Path, text: str, sentence: str) -> None:
    (tmp_path / "pipeline.yaml").write_text(text)
    environment = {"NOTIFICATION_CONFIG_DIR": str(tmp_path), "NOTIFICATION_PIPELINE_FILE": "pipeline.yaml"}
    (told,) = problems(environment)
    assert told == f"NOTIFICATION_PIPELINE_FILE: {sentence}"


def test_an_empty_pipeline_file_has_no_channels(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("")
    assert read({"NOTIFICATION_PIPELINE_FILE": str(tmp_path / "p.yaml")}).live.routing.channels == ()


def test_the_folder_must_be_one(tmp_path: Path) -> None:
    (told,) = problems({"NOTIFICATION_CONFIG_DIR": str(tmp_path / "none")})
    assert told.endswith("which is not a folder: create it, or unset it.")


def test_files_that_are_no_text_are_told(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"\xff")
    (tmp_path / "b").write_bytes(b"x" * 1_048_577)
    told = problems({"NOTIFICATION_CONFIG_DIR": str(tmp_path)})
    assert "the file a is not text in UTF-8" in told[0]
    assert "the file b is larger than 1 MiB" in told[1]


def test_the_hash_follows_every_change_of_a_secret_too(tmp_path: Path) -> None:
    hashes = {
        read(environment).hash
        for environment in (
            {},
            {"NOTIFICATION_PORT": "4001"},
            {"SLACK_WEBHOOK_URL": "https://a/"},
            {"SLACK_WEBHOOK_URL": "https://b/"},
            {"SLACK_ALERT_WEBHOOK_URL": "https://b/"},
        )
    }
    assert len(hashes) == 5
    assert read({"HOME": "/x"}).hash == read({}).hash, "what is no setting changes nothing"


def test_what_looks_like_a_setting_and_is_none_is_told() -> None:
    environment = {
        "NOTIFICATION_PROT": "1",
        "NOTIFICATION_OPERATOR_LOG_LEVEL": "debug",
        "NOTIFICATION_PORT_80_TCP": "x",
    }
    (told,) = read(environment).warnings
    assert told.startswith("NOTIFICATION_PROT in the environment is no setting")


def test_backoffs_must_be_ordered() -> None:
    (told,) = problems({"NOTIFICATION_RETRY_MAX_BACKOFF_MS": "10"})
    assert told == (
        "NOTIFICATION_RETRY_INITIAL_BACKOFF_MS is 1000, and NOTIFICATION_RETRY_MAX_BACKOFF_MS is 10:"
        " raise the second or lower the first."
    )


def test_routes_take_what_the_type_says_and_the_rest_from_the_pipeline(tmp_path: Path) -> None:
    (tmp_path / "pipeline.json").write_text(
        '{"channels": [{"name": "a", "webhook": {"url": "https://a/"}}, {"name": "b", "webhook": {"url": "https://b/"}}],'
        ' "jobTypes": [{"name": "special", "channels": ["b"], "timeout": "2s", "retry": {"maxBackoff": "500ms"}}]}'
    )
    routes = Routes(read({"NOTIFICATION_CONFIG_DIR": str(tmp_path), "NOTIFICATION_RETRY_MAX_ATTEMPTS": "3"}).live)
    special, other = routes.of("special"), routes.of("other")
    assert (special.channels, special.timeout, special.retry) == (("b",), 2.0, RetryPolicy(3, 500, 500))
    assert (other.channels, other.timeout, other.retry) == (("a", "b"), 30.0, RetryPolicy(3, 1000, 300_000))
