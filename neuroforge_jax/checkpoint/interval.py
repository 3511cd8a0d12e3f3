"""When a run is saved: every so many steps, epochs or minutes."""

import math
import re
from dataclasses import dataclass

from neuroforge_jax.errors import ConfigError

UNITS = {"step": "steps", "epoch": "epochs", "minute": "minutes", "min": "minutes"}
_FORM = re.compile(r"(\d+(?:\.\d+)?)?\s*(step|epoch|minute|min)s?")


@dataclass(frozen=True)
class Interval:
    """count: of the unit, which is steps, epochs, minutes, or never."""

    count: float
    unit: str

    @staticmethod
    def parse(text: str) -> "Interval":
        """The interval that --checkpoint-every says: `500 steps`, `epoch`, `2 epochs`, `10 minutes` or `never`.

        Raises ConfigError.
        """
        if text == "never":
            return Interval(math.inf, "never")
        match = _FORM.fullmatch(text.strip().lower())
        if match:
            count, unit = float(match[1] or 1), UNITS[match[2]]
            if count > 0 and (unit == "minutes" or count.is_integer()):
                return Interval(count, unit)
        raise ConfigError(
            f"--checkpoint-every {text!r}: it takes whole steps or epochs or some minutes, such as '500 steps', "
            "'epoch' or '10 minutes', or never"
        )

    def steps_left(self, step: int) -> int | None:
        """Steps until a save falls due, where steps are counted; a segment must end there."""
        return None if self.unit != "steps" else int(self.count) - step % int(self.count)

    def is_due(self, step: int, epoch: int, seconds: float, *, ends_epoch: bool) -> bool:
        """After `step` steps and `epoch` whole epochs, `seconds` after the last save.

        ends_epoch: whether an epoch has just been evaluated. A count of steps falls due between segments.
        """
        if self.unit == "steps":
            return not ends_epoch and step % int(self.count) == 0
        if self.unit == "epochs":
            return ends_epoch and epoch % int(self.count) == 0
        return self.unit == "minutes" and seconds >= 60 * self.count
