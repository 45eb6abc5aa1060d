"""The rule files that a configuration names: found by their globs, read as one set, watched for changes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from glob import glob
from pathlib import Path

from otel_latency.errors import ConfigError
from otel_latency.rules import rulefile
from otel_latency.rules.promql.values import Semantics
from otel_latency.rules.rule import RuleGroup

MAX_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class RuleFiles:
    """The files that *patterns* mean, seen from *directory*; messages call them as the pattern wrote them."""

    patterns: Sequence[str]
    directory: Path = Path()
    semantics: Semantics = 3

    def find(self) -> list[str]:
        """The names of the files that are there now, each once."""
        names = [name for pattern in self.patterns for name in sorted(glob(pattern, root_dir=self.directory))]  # noqa: PTH207 -- names stay as they were written
        return list(dict.fromkeys(names))

    def unmatched(self) -> list[str]:
        """The globs that mean no file by now; rules may come later."""
        globs = filter(_is_glob, self.patterns)
        return [pattern for pattern in globs if not RuleFiles([pattern], self.directory).find()]

    def load(self) -> tuple[list[RuleGroup], list[ConfigError]]:
        """The groups of all files that are right, and everything that is wrong."""
        groups: list[RuleGroup] = []
        faults = list(self._missing())
        for name in self.find():
            try:
                text = self._read(name)
            except ConfigError as fault:
                faults.append(fault)
                continue
            found, wrong = rulefile.read(name, text, semantics=self.semantics)
            groups += found
            faults += wrong
        return groups, faults

    def state(self) -> object:
        """Something that is another once a file came, went or was written."""
        return [(name, _stamp(self.directory / name)) for name in self.find()]

    def _missing(self) -> Iterable[ConfigError]:
        """A pattern without wildcards names a file that has to be there; globs may match nothing."""
        for pattern in self.patterns:
            if not _is_glob(pattern) and _stamp(self.directory / pattern) is None:
                fact = "there is no such file, or it may not be seen"
                yield ConfigError(f"rules.files: {pattern}: {fact}: check the name")

    def _read(self, name: str) -> str:
        try:
            with (self.directory / name).open("rb") as file:
                data = file.read(MAX_BYTES + 1)
        except OSError as error:
            raise ConfigError(f"{name}: the file cannot be read ({error.strerror}): check its rights") from None
        if len(data) > MAX_BYTES:
            raise ConfigError(f"{name}: the file is larger than 4 MiB: is it the right one?")
        try:
            return data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise ConfigError(f"{name}: byte {error.start} is not UTF-8: save the file as UTF-8") from None


def _is_glob(pattern: str) -> bool:
    return any(wildcard in pattern for wildcard in "*?[")


def _stamp(path: Path) -> object:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size, stat.st_ino
