"""Prints a script that completes commands, recipes and options in a shell.

    eval "$(pipelines completion bash)"             # in ~/.bashrc
    eval "$(pipelines completion zsh)"              # in ~/.zshrc, after compinit
    pipelines completion fish | source              # in ~/.config/fish/config.fish

The script holds the words of this version; it starts no Python while you type.
"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Mapping, Sequence

HELP = "print a script for the completion of bash, zsh or fish"

Words = Mapping[str, Sequence[str]]

_BASH = """\
_pipelines() {{
    local current="${{COMP_WORDS[COMP_CWORD]}}" words=""
    COMPREPLY=()
    if [ "$COMP_CWORD" -eq 1 ]; then
        words={commands}
    elif [ "${{COMP_WORDS[1]}}" = train ] && [ "$COMP_CWORD" -eq 2 ]; then
        words={recipes}
    elif [ "${{COMP_WORDS[1]}}" = train ]; then
        case "${{COMP_WORDS[2]}}" in
{recipe_cases}
        esac
    else
        case "${{COMP_WORDS[1]}}" in
{command_cases}
        esac
    fi
    if [ "$COMP_CWORD" -gt 1 ] && [[ "$current" != -* ]] && [ "$words" != {recipes} ]; then
        return  # a file: the shell's own completion
    fi
    COMPREPLY=($(compgen -W "$words" -- "$current"))
}}
complete -o bashdefault -o default -F _pipelines pipelines
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=("bash", "zsh", "fish"))


def run(options: argparse.Namespace) -> int:
    from pipelines.runs.recipes import find_recipes
    from pipelines.runs.usage import entries_of_source

    commands = {name: sorted(_options_of(parser)) for name, parser in options.parsers.items()}
    recipes = {
        name: sorted(f"--{entry.name}" for entry in entries_of_source(path))
        for name, path in find_recipes().items()
    }
    recipes = {name: ["--config", "--help", *words] for name, words in recipes.items()}
    print(_fish(commands, recipes) if options.shell == "fish" else _bash(commands, recipes), end="")
    return 0


def _options_of(parser: argparse.ArgumentParser) -> set[str]:
    """The options of a command, and those of its actions."""
    words: set[str] = set()
    for action in parser._actions:
        words.update(action.option_strings)
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                words |= _options_of(inner)
    return words


def _bash(commands: Words, recipes: Words) -> str:
    """A function for bash; zsh reads it by its `bashcompinit`."""
    script = _BASH.format(
        commands=shlex.quote(" ".join(commands)),
        recipes=shlex.quote(" ".join(recipes)),
        recipe_cases=_cases(recipes),
        command_cases=_cases(commands),
    )
    # `bashcompinit` gives zsh `complete` and `compgen`; bash has them.
    load = '[ -n "$ZSH_VERSION" ] && autoload -U +X bashcompinit && bashcompinit\n'
    return load + script


def _cases(words: Words) -> str:
    return "\n".join(
        f"        {name}) words={shlex.quote(' '.join(options))} ;;"
        for name, options in words.items()
    )


def _fish(commands: Words, recipes: Words) -> str:
    lines = [
        "complete -c pipelines -n __fish_use_subcommand -f -a " + shlex.quote(" ".join(commands)),
        "complete -c pipelines -n '__fish_seen_subcommand_from train' -a "
        + shlex.quote(" ".join(recipes)),
    ]
    for name, options in {**commands, **recipes}.items():
        seen = shlex.quote(f"__fish_seen_subcommand_from {name}")
        lines += [f"complete -c pipelines -n {seen} {_fish_option(option)}" for option in options]
    return "\n".join(lines) + "\n"


def _fish_option(option: str) -> str:
    return f"-l {option[2:]}" if option.startswith("--") else f"-s {option[1:]}"
