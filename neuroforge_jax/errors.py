"""A user's mistake, told in one line and with an exit code of its own.

Each message says what is wrong, what is allowed and what to do. The commands print it without a traceback.

| code | meaning |
|---|---|
| 0 | done |
| 2 | usage, configuration, unknown names, a run folder that cannot be written or is in use |
| 3 | data files and downloads |
| 4 | checkpoints and saved runs |
| 5 | backend, device, memory or other processes |
| 6 | the training diverged |
| 7 | verification or regression failed |
| 129, 130, 143 | SIGHUP, Ctrl-C, SIGTERM |
"""

import difflib
from collections.abc import Iterable, Mapping
from typing import ClassVar, TypeVar

T = TypeVar("T")


class UserError(Exception):
    """The root of all errors that the user, not the program, can mend."""

    exit_code: ClassVar[int] = 2


class ConfigError(UserError):
    """A flag, a configuration file or a name that cannot be used (exit code 2)."""


class DataError(UserError):
    """A data file or download that is missing or not what it claims to be (exit code 3)."""

    exit_code = 3


class CheckpointError(UserError):
    """A saved run or checkpoint that cannot be read, written or continued so (exit code 4)."""

    exit_code = 4


class DeviceError(UserError):
    """A backend or device that this machine lacks, or another process that is lost (exit code 5)."""

    exit_code = 5


class DivergedError(UserError):
    """The loss is no longer a number (exit code 6)."""

    exit_code = 6


class VerificationError(UserError):
    """A backend computes something else than the oracle (exit code 7)."""

    exit_code = 7


def lookup(table: Mapping[str, T], name: str, kind: str) -> T:
    """The entry `name` of a table; an unknown name is an error that lists the known ones."""
    try:
        return table[name]
    except KeyError:
        raise ConfigError(unknown(kind, name, table)) from None


def unknown(kind: str, name: str, known: Iterable[str]) -> str:
    """The sentence for an unknown name: the known ones, and the nearest if one is near."""
    names = list(known)
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"unknown {kind} {name!r}: known are {', '.join(names)}{hint}"


def join_words(words: Iterable[str], last: str) -> str:
    """`a, b or c`. last: the word before the last of them."""
    *others, final = words
    return f"{', '.join(others)} {last} {final}" if others else final


def first_line(error: BaseException) -> str:
    """What an error says, in a line; with its kind, where it is none of ours."""
    kind = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
    return f"{kind}{str(error).partition(chr(10))[0]}"
