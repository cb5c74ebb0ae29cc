"""The machine that a bundle is made for: its Python, its platform, and what these decide."""

from __future__ import annotations

import re
from typing import NamedTuple

from pipelines.errors import UserError

# Platform tag of a wheel -> (sys_platform, platform_system, os_name), for environment markers.
SYSTEMS = {
    "manylinux": ("linux", "Linux", "posix"),
    "macosx": ("darwin", "Darwin", "posix"),
    "win": ("win32", "Windows", "nt"),
}
MANYLINUX = re.compile(r"manylinux_2_(\d+)_(\w+)")
# The older names of some manylinux tags, by their version of glibc.
OLD_NAMES = {5: "manylinux1", 12: "manylinux2010", 17: "manylinux2014"}


class Target(NamedTuple):
    """A Python and a platform.

    Attributes:
        python: its version, such as `3.12`.
        platform: a platform tag of wheels, such as `manylinux_2_28_x86_64`.
    """

    python: str
    platform: str

    def check(self) -> None:
        """Checks both names.

        Raises:
            UserError: for a version or a platform that wheels do not have.
        """
        if not re.fullmatch(r"3\.\d+", self.python):
            raise UserError(f"got --python {self.python}; wanted a version such as 3.12")
        known = MANYLINUX.fullmatch(self.platform) or re.match(r"(macosx|win)_", self.platform)
        if not known:
            raise UserError(
                f"got --platform {self.platform}; wanted a platform tag of wheels, such as "
                "manylinux_2_28_x86_64, macosx_14_0_arm64 or win_amd64"
            )

    def platforms(self) -> list[str]:
        """The platform tags that the machine takes: of manylinux, all up to its own glibc."""
        linux = MANYLINUX.fullmatch(self.platform)
        if linux is None:
            return [self.platform]
        glibc, machine = int(linux[1]), linux[2]
        tags = []
        for version in range(glibc, 4, -1):
            tags.append(f"manylinux_2_{version}_{machine}")
            if version in OLD_NAMES:
                tags.append(f"{OLD_NAMES[version]}_{machine}")
        return tags

    def markers(self) -> dict[str, str]:
        """What environment markers of requirements are evaluated with (PEP 508)."""
        prefix = re.split(r"[_\d]", self.platform, maxsplit=1)[0]
        sys_platform, system, os_name = SYSTEMS[prefix]
        linux = MANYLINUX.fullmatch(self.platform)
        machine = linux[2] if linux else self.platform.rpartition("_")[2]
        return {
            "python_version": self.python,
            "python_full_version": f"{self.python}.0",
            "implementation_name": "cpython",
            "platform_python_implementation": "CPython",
            "sys_platform": sys_platform,
            "platform_system": system,
            "os_name": os_name,
            "platform_machine": "AMD64" if machine == "amd64" else machine,
        }
