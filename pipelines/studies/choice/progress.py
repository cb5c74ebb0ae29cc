"""What a choice has done so far, in its folder, so that the same command goes on with it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping
from pathlib import Path

from pipelines.corpora.writing import replacing
from pipelines.errors import UserError
from pipelines.examples import JsonObject
from pipelines.studies.choice.estimates import Estimate, Observation

FILE = "progress.json"
SECONDS_BETWEEN_WRITES = 5.0


class Progress:
    """Seconds spent, estimates and observations; safe to use from several threads.

    Attributes:
        seconds: command -> its seconds, with those of a killed attempt that it goes on from.
        estimates: rung -> what was estimated before it first started.
        digests: rung -> its hash, see `Rung.digest`.
        observations: rung -> what its runs on parts of the data cost.
    """

    def __init__(self, folder: Path):
        """Reads what was done before.

        Raises:
            UserError: for a damaged file.
        """
        self.file = folder / FILE
        self.seconds: dict[str, float] = {}
        self.digests: dict[str, str] = {}
        self.estimates: dict[str, Estimate] = {}
        self.observations: dict[str, list[Observation]] = {}
        self._earlier = 0.0
        self._begin = self._written = time.monotonic()
        self._lock = threading.RLock()
        if self.file.is_file():
            self._read()

    def _read(self) -> None:
        try:
            known = json.loads(self.file.read_text(encoding="utf-8"))
            self._earlier = float(known["spent"])
            self.seconds = dict(known["seconds"])
            self.digests = dict(known["digests"])
            self.estimates = {name: Estimate(**own) for name, own in known["estimates"].items()}
            for name, rows in known["observations"].items():
                self.observations[name] = [Observation(**row) for row in rows]
        except (ValueError, KeyError, TypeError):
            raise UserError(f"{self.file}: damaged; remove it, and run the same command") from None

    def spent(self) -> float:
        """Seconds since the choice was first started, without those between its sessions."""
        return self._earlier + time.monotonic() - self._begin

    def add_seconds(self, command: str, seconds: float) -> None:
        """Adds time to a command that runs."""
        with self._lock:
            self.seconds[command] = self.seconds.get(command, 0.0) + seconds
            if time.monotonic() - self._written > SECONDS_BETWEEN_WRITES:
                self.write()

    def begin_again(self, command: str) -> None:
        """Forgets the seconds of a command that starts from nothing, killed as it was."""
        with self._lock:
            self.seconds[command] = 0.0

    def seconds_of(self, *commands: str) -> float:
        with self._lock:
            return sum(self.seconds.get(command, 0.0) for command in commands)

    def observe(self, rung: str, observation: Observation) -> None:
        with self._lock:
            self.observations.setdefault(rung, []).append(observation)
            self.write()

    def expect(self, rung: str, estimate: Estimate) -> None:
        """Keeps the first estimate of a rung, which is checked against what came."""
        with self._lock:
            self.estimates.setdefault(rung, estimate)
            self.write()

    def write(self) -> None:
        with self._lock:
            content: JsonObject = {
                "spent": self.spent(),
                "seconds": self.seconds,
                "digests": self.digests,
                "estimates": {name: own.to_json() for name, own in self.estimates.items()},
                "observations": _rows(self.observations),
            }
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with replacing(self.file) as f:
                json.dump(content, f, indent=1)
            self._written = time.monotonic()


def _rows(observations: Mapping[str, list[Observation]]) -> JsonObject:
    return {name: [own.to_json() for own in rows] for name, rows in observations.items()}
