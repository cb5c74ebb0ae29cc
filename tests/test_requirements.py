"""The lock files: complete, with hashes, and of the versions that are tested."""

from __future__ import annotations

import re
import tomllib
from importlib import metadata

import pytest
from conftest import ROOT
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from pipelines.bundling.wheels import read_pins

LOCKS = ("requirements.txt", "requirements-dev.txt")
NOT_LOCKED = re.compile(r"(torch|triton|nvidia-.*|cuda-.*)")


def locked(name: str) -> dict[str, tuple[str, list[str]]]:
    """Canonical name -> version and hashes, of a lock file."""
    entries = {}
    text = (ROOT / name).read_text(encoding="utf-8").replace("\\\n", " ")
    for line in text.splitlines():
        if line and not line.startswith("#"):
            pin = Requirement(line.split(" --hash")[0])
            [specifier] = pin.specifier
            assert specifier.operator == "=="
            hashes = re.findall(r"--hash=sha256:([0-9a-f]{64})\b", line)
            entries[canonicalize_name(pin.name)] = specifier.version, hashes
    return entries


def required() -> dict[str, list[Requirement]]:
    """Lock file -> what the project requires of it directly."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = project["dependencies"], project["optional-dependencies"]["dev"]
    wanted = [[Requirement(line) for line in part] for part in lines]
    wanted[1] = [own for own in wanted[1] if own.name != project["name"]]  # extras of its own
    return dict(zip(LOCKS, wanted, strict=True))


@pytest.mark.parametrize("name", LOCKS)
def test_every_package_has_a_hash_and_the_version_of_the_constraints(name):
    pins = read_pins(ROOT / "constraints.txt")
    for package, (version, hashes) in locked(name).items():
        assert hashes, package
        assert pins.get(package, version) == version, package


@pytest.mark.parametrize("name", LOCKS)
def test_what_the_project_requires_is_locked_and_fits(name):
    versions = locked(name)
    for requirement in required()[name]:
        if requirement.name != "torch":
            version, _ = versions[canonicalize_name(requirement.name)]
            assert requirement.specifier.contains(version), requirement


def test_torch_and_cuda_are_not_locked_and_developing_needs_the_default_and_more():
    default, dev = map(locked, LOCKS)
    assert not [name for name in dev if NOT_LOCKED.fullmatch(name)]
    assert default.items() <= dev.items()


def test_what_locked_packages_require_is_locked_too():
    """They are installed without dependencies, as they are listed."""
    everything = locked(LOCKS[1])
    looked_at = 0
    for name in everything:
        try:
            lines = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue  # of another platform
        looked_at += 1
        for line in lines:
            needed = Requirement(line)
            if needed.marker is None or needed.marker.evaluate({"extra": ""}):
                assert canonicalize_name(needed.name) in {*everything, "torch"}, (name, line)
    assert looked_at > 50


def test_make_and_the_container_install_with_hashes():
    commands = (ROOT / "Makefile").read_text(encoding="utf-8").splitlines()
    [line] = [line for line in commands if f"--requirement {LOCKS[1]}" in line]
    assert "--require-hashes" in line
    container = re.sub(r"\\\n", " ", (ROOT / "Dockerfile").read_text(encoding="utf-8"))
    [line] = [line for line in container.splitlines() if "--requirement requirements.txt" in line]
    assert "--require-hashes" in line
