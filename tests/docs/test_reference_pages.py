"""The generated pages: committed as they are generated, and true of what runs."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import httpx
import pytest

from notification_dispatcher.variables import Variable
from tests.cluster import Cluster
from tests.dispatcher.dispatcher_process import dispatcher
from tests.docs import cli_page, metrics_page
from tests.docs.__main__ import PAGES
from tests.metrics import Scrape
from tests.operator_process import OperatorProcess

FOLDER = Path(__file__).parents[2] / "docs" / "reference"
CHANNEL = {"name": "crm", "webhook": {"url": "https://crm.example.com/hooks"}}


@pytest.mark.parametrize(("name", "markdown"), PAGES.items(), ids=PAGES)
def test_the_committed_page_is_what_is_generated(name: str, markdown: Callable[[], str]) -> None:
    assert (FOLDER / name).read_text() == markdown(), "run `make generate`"


@pytest.mark.parametrize("name", PAGES)
def test_no_cell_breaks_its_table(name: str) -> None:
    for table in re.findall(r"(?:^[|].*\n)+", (FOLDER / name).read_text(), re.MULTILINE):
        widths = {line.replace("\\|", "").count("|") for line in table.splitlines()}
        assert len(widths) == 1, table


def documented(process: str) -> Mapping[str, tuple[str, set[str]]]:
    """What the page says of a process's metrics: name → type and labels."""
    section = (FOLDER / "metrics.md").read_text().partition(f"\n## {process}\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^[|] `(\w+)` [|] (\w+) [|] [^|]* [|] ([^|]*) [|]", section, re.MULTILINE)
    return {name: (kind, set(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows}


def scraped(scrape: Scrape) -> Mapping[str, tuple[str, set[str]]]:
    """The same of a scrape."""
    return {
        metrics_page.name_of(family): (family.type, set(metrics_page.labels_of(family)))
        for family in scrape.families.values()
    }


async def test_a_dispatcher_publishes_what_the_page_says_and_nothing_else(tmp_path: Path) -> None:
    async with dispatcher(tmp_path, {"channels": [CHANNEL]}) as process:
        assert scraped(await Scrape.of(process.url)) == documented("Dispatcher")


def test_an_operator_publishes_what_the_page_says_and_nothing_else(
    cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    with OperatorProcess(cluster, namespace, tmp_path / "operator.log") as process:
        found = scraped(Scrape(httpx.get(f"http://127.0.0.1:{process.port}/metrics", trust_env=False).text))
    expected = documented("Operator")
    assert found.keys() == expected.keys()
    for name, (kind, labels) in found.items():
        # What nothing has happened to yet has no series, and so no labels.
        assert kind == expected[name][0]
        assert labels in (expected[name][1], set()), name
    assert found["notification_operator_api_requests_total"] == expected["notification_operator_api_requests_total"]


def test_every_setting_and_every_command_is_on_the_page() -> None:
    text = (FOLDER / "cli.md").read_text()
    assert [name for name in Variable if f"`{name}`" not in text] == []
    for name, _ in cli_page.commands():
        program = Path(sys.executable).with_name(name)
        answer = subprocess.run([program, "--help"], capture_output=True, text=True, check=True).stdout
        inner = re.findall(r"^  ([a-z-]+)  ", answer.partition("Commands:")[2], re.MULTILINE)
        assert inner
        for one in inner:
            assert f"### {name} {one}\n" in text
