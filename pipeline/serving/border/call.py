"""One request on its way through the border."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(slots=True)
class OpenCall:
    """What is known of a request.

    Attributes:
        id: in the header `x-request-id`, in the log and in messages.
        began_s: when it came, on the monotonic clock.
        has_body: it comes with a body.
        drops_rest: the host drops what is not read of its body, behind the answer.
        key: name of its key.
        status: of its answer; None before.
        code: of its error.
        headers: further headers of its answer.
        body_bytes: of its body, as far as it was read.
        held_bytes: those of them that count against the budget.
        is_read: its body was read to the end.
        has_place: it counts as in progress.
        items: images and texts in it.
    """

    id: str
    began_s: float
    has_body: bool = False
    drops_rest: bool = False
    key: str | None = None
    status: int | None = None
    code: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body_bytes: int = 0
    held_bytes: int = 0
    is_read: bool = False
    has_place: bool = False
    items: int = 0
