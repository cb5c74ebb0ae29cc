"""A virtual environment that stands for another machine: this one's packages, but no network and no project."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from importlib import metadata
from pathlib import Path

NOWHERE = "http://127.0.0.1:9"  # no server listens there


def make_environment(folder: Path) -> Path:
    """Makes the environment and returns its Python, which sees the packages of this one."""
    # Its pip is this one's too, and so is the setuptools that builds the project.
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    python = folder / "bin" / "python"
    seen = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    target = folder / "lib" / version / "site-packages" / "this_machine.pth"
    target.write_text("\n".join(seen) + "\n", encoding="utf-8")
    return python


def variables(python: Path) -> dict[str, str]:
    """The variables of a process on that machine: no index, no proxy that works, its own programs first."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return kept | {
        "PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}",
        "PIP_NO_INDEX": "1",
        "PIP_NO_BUILD_ISOLATION": "0",  # pip's way to say that there is none
        "HF_HUB_OFFLINE": "1",
        "http_proxy": NOWHERE,
        "https_proxy": NOWHERE,
    }


def without_network() -> list[str]:
    """What begins a command so that it has no network at all; empty where the system forbids it."""
    unshare = shutil.which("unshare")
    if unshare is None:
        return []
    words = [unshare, "--map-root-user", "--net"]
    return words if subprocess.run([*words, "true"], capture_output=True).returncode == 0 else []


def packed_again(name: str, folder: Path) -> Path:
    """The wheel of an installed package of pure Python, made of its files."""
    distribution = metadata.distribution(name)
    wheel = folder / f"{name}-{distribution.version}-py3-none-any.whl"
    root = Path(sysconfig.get_paths()["purelib"])
    with zipfile.ZipFile(wheel, "w") as archive:
        for file in distribution.files or ():
            if ".." not in file.parts and "__pycache__" not in file.parts:
                path = Path(str(distribution.locate_file(file)))
                archive.write(path if path.exists() else root / file, str(file))
    return wheel
