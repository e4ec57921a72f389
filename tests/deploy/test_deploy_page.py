"""The operator's page: no command in it that is not executed by a test, and what it names is there."""

import re
import shlex
from pathlib import Path

import pytest
import typer.main

from deploy.cli import app
from deploy.cli.files import FOLDERS
from tests.deploy import pages

ROOT = Path(__file__).parents[2]
COMMANDS = pages.commands()
OURS = re.compile(r"(?:^|\$\(|-- |-u skyledger )skyledger (.*)")


def test_the_page_has_its_first_section_and_more():
    first = [command for command in COMMANDS if command.section == pages.FIRST]
    assert len(first) > 30
    assert first[0].text == "apt-get update"
    assert "SELECT" in first[-1].text
    assert len(COMMANDS) > len(first) + 10
    characters = sum(len(command.text) + 1 for command in first)
    said = " ".join(pages.PAGE.read_text("utf-8").split())
    assert f"{len(first)} commands, {characters:,} characters" in said


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.section != pages.FIRST], ids=lambda c: c.text)
def test_every_other_command_is_known_to_the_walk_or_to_a_test_of_its_own(command):
    test = pages.elsewhere(command.text)
    if test is None:
        line, _ = pages.typed_as(command)
        assert "…" not in line
    else:
        file, _, name = test.partition("::")
        assert f"def {name}(" in (ROOT / file).read_text("utf-8")


def test_no_command_is_hidden_in_a_fence_and_none_is_skipped():
    text = pages.PAGE.read_text("utf-8")
    assert "```" not in text
    lines = [line[4:] for line in text.splitlines() if line.startswith("    ")]
    assert lines == [line for command in COMMANDS for line in command.text.splitlines()]


@pytest.mark.parametrize("command", [c for c in COMMANDS if OURS.search(c.text)], ids=lambda c: c.text)
def test_our_commands_are_understood(command):
    """Parsed by the command line itself, so that a misspelt option is found at once."""
    words = shlex.split(OURS.search(command.text.splitlines()[0])[1].rstrip(")"))
    values = {"--dsn": "dbname=x", "--broker": "localhost"}
    words = [values.get(words[i - 1], word) for i, word in enumerate(words) if word != "…" or words[i - 1] in values]
    group = typer.main.get_command(app)
    context = group.make_context("skyledger", [words.pop(0)])
    name = context.protected_args[0] if hasattr(context, "protected_args") else context._protected_args[0]
    one = group.get_command(context, name)
    while hasattr(one, "commands") and not words[0].startswith("-"):
        one = one.get_command(context, words.pop(0))
    names = {option for parameter in one.params for option in (*parameter.opts, *parameter.secondary_opts)}
    assert {word for word in words if word.startswith("--")} <= names


def test_files_it_copies_are_those_that_come_with_the_package():
    for command in COMMANDS:
        for name in re.findall(rf"(?<=[ ])(?:{'|'.join(FOLDERS)})/[\w.*-]+", command.text):
            assert list((ROOT / "deploy").glob(name)), name
