"""Short forms of flags, which all commands share."""

from collections.abc import Sequence

SHORT_FORMS = {"--no-header": ("--header", "no")}


def write_out(args: Sequence[str]) -> list[str]:
    """The words of a command with short forms of flags in full."""
    return [word for arg in args for word in SHORT_FORMS.get(arg, (arg,))]
