"""What a run writes: without passwords and access tokens, and paths of the home folder as `~/…`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any, Self

from pipelines.errors import without_passwords
from pipelines.examples import JsonObject

# Names of options whose values are secret. Tokens of a vocabulary are not.
SECRET_NAME = re.compile(r"(?i)(^|_)(token|password|passwd|secret|api_?key)$")
VOCABULARY_TOKEN = re.compile(r"(?i)^(eos|bos|pad|unk|sep|cls|mask)_token$")
HIDDEN = "***"


def is_secret(name: str) -> bool:
    """Whether the value of an option (`hub_token`, `--hub-token`) must not be written."""
    name = name.lstrip("-").replace("-", "_")
    if not name.isidentifier() or VOCABULARY_TOKEN.match(name):
        return False
    return bool(SECRET_NAME.search(name))


def without_secrets(value: object) -> Any:
    """Options, a command line or a message as they may be written.

    Args:
        value: text and paths, and lists, tuples and mappings of them; anything else is returned as
            it is.

    Returns:
        The value without the entries of a mapping that `is_secret` names, with `***` for their
        values on a command line, for passwords in URLs and for access tokens of the Hub; paths
        below the home folder start with `~/`.
    """
    if isinstance(value, str | Path) and not isinstance(value, Enum):
        return portable(without_passwords(str(value)))
    if isinstance(value, Mapping):
        kept = {key: item for key, item in value.items() if not is_secret(str(key))}
        return {without_secrets(key): without_secrets(item) for key, item in kept.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(without_secrets, _without_secret_arguments(value)))
    return value


def _without_secret_arguments(arguments: Sequence[object]) -> list[object]:
    shown: list[object] = []
    hides_next = False
    for argument in arguments:
        name, equals, _ = str(argument).partition("=")
        names_secret = str(argument).startswith("--") and is_secret(name)
        if hides_next:
            shown.append(HIDDEN)
        elif names_secret and equals:
            shown.append(f"{name}={HIDDEN}")
        else:
            shown.append(argument)
        hides_next = names_secret and not equals
    return shown


def portable(text: str) -> str:
    """Text with the home folder written as `~`, wherever a path below it stands."""
    home = str(Path.home())
    if home == "/":
        return text
    # Not in the middle of another path; `sqlite:////` and a path is one behind three slashes.
    return re.sub(rf"(?<![\w.~-])(?<!\w/){re.escape(home)}(?=/|$)", "~", text)


# A path from the root or the home folder on: not the rest of a URL, a relative path or a fraction.
_ABSOLUTE_PATH = re.compile(r"(?<![\w./~<-])~?/(?!/)(?:[^\s/'\",]+/)*([^\s/'\",]+)")
_DATABASE = re.compile(r"(sqlite:///)/\S*/")


def without_folders(value: object) -> Any:
    """Options, a command line or a message as they may be published: of a path only its last part.

    Args:
        value: text, and lists, tuples and mappings of it; anything else is returned as it is.

    Returns:
        The value with the names of files and folders instead of their absolute paths, in values and
        in the keys of mappings; relative paths, URLs and ids of the Hub stay.
    """
    if isinstance(value, str | Path) and not isinstance(value, Enum):
        text = str(value)
        if text.startswith(("/", "~/")) and not text.startswith("//"):
            return Path(text).name or text
        return _ABSOLUTE_PATH.sub(r"\1", _DATABASE.sub(r"\1", text))
    if isinstance(value, Mapping):
        return {without_folders(key): without_folders(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(without_folders, value))
    return value


def expanded(path: str) -> str:
    """A path or SQLite URL that `portable` wrote, with the home folder of this machine."""
    home = str(Path.home())
    return re.sub(r"^(sqlite:///)?~(?=/|$)", lambda match: f"{match[1] or ''}{home}", path)


class PickledWithoutSecrets:
    """Options whose pickle, transformers' `training_args.bin`, holds no secrets.

    The Trainer writes that file beside each model and each checkpoint, and uploads it with them.
    """

    def __getstate__(self) -> JsonObject:
        """The options as they may be written."""
        state: JsonObject = without_secrets(vars(self))
        return state

    def __copy__(self) -> Self:
        """A copy with secrets, which `copy.copy` would otherwise make from `__getstate__`."""
        duplicate = object.__new__(type(self))
        duplicate.__dict__.update(vars(self))
        return duplicate
