"""What people read before they run something: the help of every command, with examples that are valid."""

import click
import pytest
from command_tree import every_command, lines_of_program, parse

from quartermaster.cli.examples import EXAMPLES

EVERY = every_command()


@pytest.mark.parametrize("name", EVERY)
def test_the_help_of_every_command_ends_with_an_example(name: str):
    command = EVERY[name]
    assert EXAMPLES.get(name), f"{name} has no example; give it one in quartermaster/cli/examples.py"
    shown = command.get_help(click.Context(command, info_name=name))
    assert shown.split("Examples:\n")[1].split("\n") == [f"    {line}" for line in EXAMPLES[name]]


@pytest.mark.parametrize("name", EVERY)
def test_every_example_is_parsed_by_the_command_that_it_shows(name: str):
    for line in EXAMPLES[name]:
        assert len(line) <= 100, line
        (arguments,) = lines_of_program(line)
        words = parse(arguments)
        assert f"{words} ".startswith(f"{name} "), f"{line} runs {words}"


def test_an_option_that_does_not_exist_is_noticed_in_an_example():
    (arguments,) = lines_of_program("quartermaster eval replay latest --nonsense")
    with pytest.raises(click.UsageError, match="--nonsense"):
        parse(arguments)


def test_there_are_no_examples_of_commands_that_are_gone():
    assert set(EXAMPLES) == set(EVERY)


def test_a_group_that_does_something_itself_tells_of_its_own_options():
    for name, options in (("journal", ("--mission", "--severity")), ("backup", ("--home", "--format"))):
        shown = EVERY[name].get_help(click.Context(EVERY[name], info_name=name))
        assert all(option in shown for option in options)
        assert "verify" in shown
