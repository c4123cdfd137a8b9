"""The pages as texts: links that lead somewhere, YAML that would be taken, diagrams that can be drawn."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from notification_operator.group import API_VERSION, KIND
from notification_operator.plugin.__main__ import cli as plugin
from tests.cluster.binaries import Places
from tests.cluster.locks import locked
from tests.cluster.progress import Progress
from tests.docs.pages import PAGES, ROOT, Block, anchors, blocks, links
from tests.npm import install, run

NPM = Path(__file__).parent / "npm"
YAML_BLOCKS = [block for page in PAGES for block in blocks(page, "yaml")]

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


@each_page
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in links(page):
        if "://" in link or link.startswith("mailto:"):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_every_page_of_docs_is_in_the_index() -> None:
    docs = ROOT / "docs"
    index = {(docs / link.partition("#")[0]).resolve() for link in links(docs / "README.md")}
    assert {page for page in docs.glob("*.md") if page.name != "README.md"} <= index
    assert {docs / "runbooks" / "README.md", *(docs / "reference").glob("*.md")} <= index


@each_page
def test_no_command_takes_back_what_a_release_was_given(page: Path) -> None:
    for block in blocks(page, "sh", "console"):
        for command in block.text.replace("\\\n", " ").splitlines():
            # Its values go back to the chart's defaults otherwise, the new version's or (--reuse-values) the old one's.
            assert "helm upgrade " not in command or " --reset-then-reuse-values" in command, block.place


@each_page
def test_every_command_of_the_plugin_is_one_that_it_takes(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "batch.json").touch()
    text = page.read_text()
    assert not re.search(r"kubectl -\S+ \S+ notifications", text), "kubectl takes no option before a plugin's name"
    in_blocks = re.findall(r"^(?:[$] )?kubectl notifications ([a-z][^#|\n]*)", text, re.MULTILINE)
    for given in in_blocks + re.findall(r"`kubectl notifications ([a-z][^`]*)`", text):
        name, *words = shlex.split(given)
        command = plugin.commands[name]
        if words:
            # A name alone is spoken of, not called.
            command.make_context(name, words).close()


@pytest.mark.parametrize("page", sorted((ROOT / "docs" / "runbooks").rglob("*.md")), ids=lambda page: page.stem)
def test_a_runbook_needs_no_program_that_is_in_the_pods_alone(page: Path) -> None:
    assert "notification-dispatcher " not in page.read_text()
    # A Deployment's log is one pod's: of two, the one that crashed is the other.
    assert not re.search(r"logs deploy\S* .*--previous", page.read_text())


def pipelines_of(block: Block) -> list[Mapping[str, Any]]:
    """The pipelines in a block. A part of a spec stands for the smallest pipeline with it."""
    found: list[Mapping[str, Any]] = []
    for document in yaml.safe_load_all(block.text):
        if isinstance(document, dict) and document.keys() == {"spec"}:
            spec = {"channels": [{"name": "crm", "webhook": {"url": "https://crm.example.com"}}], **document["spec"]}
            found.append({"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": "booking"}, "spec": spec})
        elif isinstance(document, dict) and document.get("kind") == KIND:
            found.append(document)
    return found


@pytest.mark.parametrize("block", YAML_BLOCKS, ids=lambda block: block.place)
def test_every_pipeline_in_yaml_is_valid(block: Block) -> None:
    found = pipelines_of(block)
    if not found:
        # Another program's: at least it can be read.
        assert list(yaml.safe_load_all(block.text))
        return
    program = Path(sys.executable).with_name("notification-operator")
    answer = subprocess.run(
        [program, "validate", "-f", "-"], input=yaml.safe_dump_all(found), capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr


def test_there_are_pipelines_among_them() -> None:
    assert sum(bool(pipelines_of(block)) for block in YAML_BLOCKS) >= 3


@pytest.fixture
def mermaid() -> Path:
    """The folder of the program that parses diagrams, installed once."""
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sorted(NPM.iterdir()))).hexdigest()[:12]
    places = Places.from_environment()
    folder = places.cache / f"mermaid-{digest}"
    with locked(places.cache / ".lock-mermaid", Progress(), "another process' download"):
        if not folder.exists():
            with tempfile.TemporaryDirectory(dir=places.cache) as scratch:
                made = Path(scratch) / "made"
                install(NPM, made)
                made.rename(folder)
    return folder


def test_every_diagram_can_be_drawn(mermaid: Path) -> None:
    drawn = [block for page in PAGES for block in blocks(page, "mermaid")]
    assert drawn
    diagrams = json.dumps([block.text for block in drawn])
    wrong = json.loads(run(["node", "parse.mjs"], mermaid, diagrams))
    assert {block.place: words for block, words in zip(drawn, wrong, strict=True) if words} == {}
