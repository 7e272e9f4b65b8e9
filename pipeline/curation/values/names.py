"""What each consumer takes as names of columns, checked before anything is written.

In: the rules of a consumer, and names. Out: nothing, or one error that lists every name that the consumer refuses.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pipeline.errors import UsageError

_SHOWN = 20
CURE = "Give it another name with --rename {}=NEW, or choose the columns to write with --column."


@dataclass(frozen=True, slots=True)
class NameRules:
    """What one consumer takes as names of columns.

    Attributes:
        consumer: its name.
        rule: which names it takes, as the object of "takes".
        fits: whether a name is such a one.
        most: number of columns that it takes.
    """

    consumer: str
    rule: str = "any text"
    fits: Callable[[str], bool] = lambda name: True
    most: int | None = None

    def check(self, names: Sequence[str], cure: str = CURE) -> None:
        """Raise UsageError for names that the consumer refuses, that occur twice, or that are too many.

        Args:
            names: the names of all columns.
            cure: what to do, with {} for one of the names.
        """
        if wrong := [name for name in names if not self.fits(name)]:
            raise UsageError(
                f"{self.consumer} takes {self.rule} as the name of a column, which excludes {_listed(wrong)}. "
                + cure.format(_quoted(wrong[0]))
            )
        if twice := [name for name, times in Counter(names).items() if times > 1]:
            raise UsageError(
                f"Several columns would be called {_listed(twice)}. Correct --rename so that names differ."
            )
        if self.most is not None and len(names) > self.most:
            raise UsageError(
                f"{self.consumer} takes {self.most:,} columns, and these are {len(names):,}: choose the columns to "
                "write with --column."
            )


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
    return ", ".join(f"{name!r:.80}" for name in names[:_SHOWN]) + more


def _quoted(name: str) -> str:
    """The name as a word of a shell line, shortened if it is long."""
    shown = name if len(name) <= 40 else "OLD"
    return "'" + shown.replace("'", "'\\''") + "'" if not shown.isidentifier() else shown
