"""Installs an offline bundle: `python install.py`, in the folder that holds it.

It needs no network and changes nothing in the folder. Every file is compared with the SHA-256 of
manifest.json first.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path


def main(folder: Path) -> None:
    """Checks the files, this Python and the packages that the bundle leaves out; then installs."""
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    faults = list(file_faults(folder, manifest["files"]))
    running = f"{sys.version_info.major}.{sys.version_info.minor}"
    if running != manifest["python"]:
        faults.append(
            f"got Python {running}; the bundle is for {manifest['python']}: make it again with "
            f"`pipelines bundle --python {running}`"
        )
    faults += package_faults(manifest["needs"])
    if faults:
        raise SystemExit("\n".join(f"error: {fault}" for fault in faults))
    # Reinstalled even where a package of this version is there: this one has been checked.
    pip(
        *("install", "--no-index", "--no-deps", "--require-hashes", "--force-reinstall"),
        *("--find-links", folder / "wheels", "--requirement", folder / "requirements.txt"),
        check=True,
    )
    print(f"installed {len(list((folder / 'wheels').iterdir()))} packages of {folder.name}")


def file_faults(folder: Path, listed: dict[str, dict[str, object]]) -> list[str]:
    """The files that are missing or not those of the manifest."""
    faults = []
    for name, entry in listed.items():
        path = folder / name
        if not path.is_file():
            faults.append(f"{name}: missing; copy the bundle again")
            continue
        with open(path, "rb") as f:
            found = hashlib.file_digest(f, "sha256").hexdigest()
        if found != entry["sha256"]:
            faults.append(f"{name}: not the file of the manifest; copy the bundle again")
    return faults


def package_faults(needs: list[str]) -> list[str]:
    """The packages that the bundle leaves to this machine, and that do not fit here."""
    faults = []
    for requirement in needs:
        asked = pip("install", "--no-index", "--no-deps", "--dry-run", requirement, check=False)
        if asked.returncode:
            faults.append(
                f"{requirement}: not installed here in such a version; install it, or make the "
                "bundle without leaving it out (--without)"
            )
    return faults


def pip(*arguments: object, check: bool) -> subprocess.CompletedProcess[bytes]:
    """Runs this Python's pip; what it prints is shown only where `check` says that it must work."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    output = None if check else subprocess.DEVNULL
    return subprocess.run(
        [*command, *map(str, arguments)], check=check, stdout=output, stderr=output
    )


if __name__ == "__main__":
    main(Path(__file__).resolve().parent)
