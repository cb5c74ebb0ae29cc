"""The wheels of a bundle: the project's own, and those of all that it requires.

Requirements are followed through the metadata of the downloaded wheels, since pip's resolver cannot
leave a package such as torch, and what it requires, to the target machine.
"""

from __future__ import annotations

import logging
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Collection, Iterable, Mapping, Sequence
from email.message import Message
from email.parser import HeaderParser
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name, parse_wheel_filename

from pipelines.bundling.targets import Target
from pipelines.errors import UserError
from pipelines.runs.provenance import sha256

logger = logging.getLogger(__name__)

# The files that the project's wheel is built from.
SOURCES = ("pyproject.toml", "setup.py", "README.md", "LICENSE", "pipelines", "recipes", "data")


def build_project_wheel(project: Path, folder: Path) -> Path:
    """Builds the project's wheel into a folder.

    It is built from a copy: setuptools would leave its `build/` in the checkout, and take modules
    from there that the checkout no longer has.

    Raises:
        UserError: when pip cannot build it.
    """
    with tempfile.TemporaryDirectory() as temporary:
        for name in SOURCES:
            source, copy = project / name, Path(temporary, name)
            if source.is_dir():
                shutil.copytree(source, copy, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, copy)
        isolation = ["--no-build-isolation"] if _has_setuptools() else []
        _pip("wheel", "--no-deps", *isolation, "--wheel-dir", folder, temporary)
    [wheel] = folder.glob("ner_pipelines-*.whl")
    return wheel


def _has_setuptools() -> bool:
    """Whether this Python has the setuptools that builds the project, so that none is fetched."""
    try:
        import setuptools
    except ImportError:
        return False
    return int(setuptools.__version__.partition(".")[0]) >= 77


def add_dependencies(
    wheel: Path,
    *,
    target: Target,
    pins: Mapping[str, str],
    without: Collection[str],
    extras: Collection[str] = (),
) -> list[str]:
    """Downloads the wheels of all that a wheel requires, into its folder.

    Args:
        wheel: the project's.
        target: the machine that they are for.
        pins: canonical name of a package -> its version; others get the newest that fits.
        without: packages that the machine has. What they require is not followed.
        extras: of the project, whose packages are wanted too.

    Returns:
        The requirements for the packages that were left out, one line each, such as
        `torch>=2.13,<3`.

    Raises:
        UserError: for an unknown extra, or when pip finds no wheel, or the versions do not fit each
            other.
    """
    folder = wheel.parent
    known = _metadata(wheel).get_all("Provides-Extra") or []
    if unknown := sorted(set(extras) - set(known)):
        raise UserError(f"got --extras {' '.join(unknown)}; wanted some of {', '.join(known)}")
    absent = {canonicalize_name(name) for name in without}
    wheels: dict[str, Path] = {"ner-pipelines": wheel}
    requirements = _requirements(wheel, extras, target)
    everything = list(requirements)
    followed: set[tuple[str, frozenset[str]]] = set()
    while requirements:
        wanted: dict[str, Requirement] = {}
        for requirement in requirements:
            name = canonicalize_name(requirement.name)
            if name not in absent | wheels.keys():
                wanted[name] = requirement
        if wanted:
            _download(wanted, folder, target, pins)
            wheels = wheels_in(folder)
            size = sum(path.stat().st_size for path in wheels.values())
            logger.info("%d wheels, %.0f MB", len(wheels), size / 1e6)
        found = []
        for requirement in requirements:
            name = canonicalize_name(requirement.name)
            key = name, frozenset(requirement.extras)
            if name not in absent and key not in followed:
                followed.add(key)
                found += _requirements(wheels[name], requirement.extras, target)
        requirements = found
        everything += found
    _refuse_conflicts(everything, wheels)
    return _left_out(everything, absent)


def wheels_in(folder: Path) -> dict[str, Path]:
    """Canonical name of a package -> its wheel."""
    return {str(parse_wheel_filename(path.name)[0]): path for path in sorted(folder.glob("*.whl"))}


def requirements_with_hashes(folder: Path) -> str:
    """A requirements file that names each wheel of a folder, with its SHA-256."""
    lines = []
    for path in sorted(folder.glob("*.whl")):
        name, version, *_ = parse_wheel_filename(path.name)
        lines.append(f"{name}=={version} --hash=sha256:{sha256(path)}\n")
    return "".join(lines)


def read_pins(constraints: Path) -> dict[str, str]:
    """Canonical name -> version, of a file of lines `name==version`."""
    lines = constraints.read_text(encoding="utf-8").splitlines()
    pairs = (line.split("==") for line in lines if "==" in line and not line.startswith("#"))
    return {canonicalize_name(name): version.strip() for name, version in pairs}


def _metadata(wheel: Path) -> Message:
    """The metadata of a wheel: names and values of its core metadata."""
    with zipfile.ZipFile(wheel) as archive:
        [name] = [
            name for name in archive.namelist() if re.fullmatch(r"[^/]+\.dist-info/METADATA", name)
        ]
        return HeaderParser().parsestr(archive.read(name).decode())


def _requirements(wheel: Path, extras: Collection[str], target: Target) -> list[Requirement]:
    """What a wheel requires on a machine, with some of its extras."""
    found = []
    for line in _metadata(wheel).get_all("Requires-Dist") or ():
        requirement = Requirement(line)
        marker = requirement.marker
        environments = [target.markers() | {"extra": extra} for extra in ("", *extras)]
        if marker is None or any(marker.evaluate(environment) for environment in environments):
            found.append(requirement)
    return found


def _download(
    wanted: Mapping[str, Requirement], folder: Path, target: Target, pins: Mapping[str, str]
) -> None:
    """Downloads a wheel for each requirement."""
    specifiers = [
        f"{name}=={pins[name]}" if name in pins else f"{name}{requirement.specifier}"
        for name, requirement in wanted.items()
    ]
    platforms = [word for tag in target.platforms() for word in ("--platform", tag)]
    _pip(
        *("download", "--no-deps", "--only-binary", ":all:", "--dest", folder),
        *("--python-version", target.python, *platforms),
        *sorted(specifiers),
    )


def _pip(*arguments: object) -> None:
    """Runs this Python's pip.

    Raises:
        UserError: with the errors that it printed.
    """
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        reason = " ".join(lines or done.stderr.splitlines()[-1:])
        raise UserError(
            f"pip {arguments[0]} failed ({reason}); check the network, --python and --platform, or "
            "leave the package out by --without, if the target machine has it"
        )


def _refuse_conflicts(requirements: Iterable[Requirement], wheels: Mapping[str, Path]) -> None:
    """Checks each requirement against the version that was downloaded.

    Raises:
        UserError: naming all that do not fit.
    """
    faults = set()
    for requirement in requirements:
        path = wheels.get(canonicalize_name(requirement.name))
        if path is None:
            continue
        _, version, *_ = parse_wheel_filename(path.name)
        if not requirement.specifier.contains(version, prereleases=True):
            faults.add(f"{requirement.name}: got {version}, wanted {requirement.specifier}")
    if faults:
        listed = "\n".join(sorted(faults))
        raise UserError(f"{listed}\nthe versions of constraints.txt do not fit each other")


def _left_out(requirements: Sequence[Requirement], absent: Collection[str]) -> list[str]:
    """What is required of the packages that the target machine has: a line a package."""
    specifiers: dict[str, set[str]] = {}
    for requirement in requirements:
        name = canonicalize_name(requirement.name)
        if name in absent:
            specifiers.setdefault(name, set()).update(map(str, requirement.specifier))
    return [f"{name}{','.join(sorted(parts))}" for name, parts in sorted(specifiers.items())]
