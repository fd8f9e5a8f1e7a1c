"""Documents are true to the code where a machine can tell: links, imports, flags and commands that are there."""

import argparse
import ast
import importlib
import re
from pathlib import Path

import pytest

from cluster.cli.main import available_commands, build_parser

ROOT = Path(__file__).parents[2]
DOCS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
_OURS = ("engine", "transforms", "trainers", "cluster")


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_links_lead_somewhere(path):
    for target in re.findall(r"\]\(([^)#\s]+?\.(?:md|py|toml|yaml)|http[^)]*)\)", path.read_text()):
        assert "://" in target or (path.parent / target).exists(), target


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_files_that_documents_name_are_there(path):
    for name in re.findall(
        rf"`((?:{'|'.join(_OURS)}|tests|benchmarks|examples|docs|k8s|\.ci)/[\w./-]+)`", path.read_text()
    ):
        stands_for_many = re.search(r"\b(NAME|MACHINE|CASE)\b", name)
        assert stands_for_many or (ROOT / name).exists(), name


def test_index_links_every_page():
    linked = re.findall(r"\]\(([\w-]+\.md)\)", (ROOT / "docs/index.md").read_text())
    assert sorted([*linked, "index.md"]) == sorted(path.name for path in (ROOT / "docs").glob("*.md"))


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_names_that_documents_import_are_there(path):
    statements = re.findall(
        rf"^ *(from (?:{'|'.join(_OURS)})[\w.]* import (?:\([^)]*\)|[^\n#(]+))", path.read_text(), re.M
    )
    for statement in statements:
        (node,) = ast.parse(statement.strip()).body
        module = importlib.import_module(node.module)
        for alias in node.names:
            if not hasattr(module, alias.name):
                importlib.import_module(f"{node.module}.{alias.name}")


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_commands_and_flags_in_documents_are_there(path):
    text = path.read_text().replace("\\\n", " ")
    for command, rest in re.findall(r"fullpass ([a-z]+)\b([^\n`]*)", text):
        if command not in available_commands():
            continue
        parser, _ = build_parser(command)
        (commands,) = (a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
        known = set(commands.choices[command]._option_string_actions)
        said = re.split(r"#| -- ", rest)[0]
        for flag in re.findall(r"(?<![\w=-])(--?[a-z][\w-]*)", said):
            assert flag in known, f"fullpass {command} {flag}"


def test_page_of_commands_lists_every_option():
    head, *sections = re.split(r"^## ", (ROOT / "docs/reference/commands.md").read_text(), flags=re.M)
    of = {section.split("\n", 1)[0]: section for section in sections}
    for command in available_commands():
        parser, _ = build_parser(command)
        (commands,) = (a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
        text = head + of[command] + of["Where a job runs"]
        for action in commands.choices[command]._actions:
            for flag in action.option_strings if action.help != argparse.SUPPRESS else ():
                assert re.search(rf"`{flag}[` ]", text), f"fullpass {command} {flag}"
    assert not re.findall(r"^\| `-.*\| *\|.*", "".join([head, *sections]), re.M), "no default is `–`, not an empty cell"
