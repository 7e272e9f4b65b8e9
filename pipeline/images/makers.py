"""Reports what makes pixels on this machine: the rule of the resize and the versions of the decoders.

In: nothing. Out: values by name, for the footers of files; and the refusal to mix machines whose pixels may differ.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from importlib.metadata import version
from importlib.util import find_spec

import PIL
from PIL import features

from pipeline.errors import RunError
from pipeline.images.preprocessing import RESIZE_RULE, deciding

_LABELS = {"resize": "the resize", "pillow": "Pillow", "libjpeg": "libjpeg-turbo"}


def pixel_makers() -> dict[str, str]:
    """The rule, and the versions of Pillow, of the libjpeg-turbo inside it, and of simplejpeg if it is installed."""
    libjpeg = features.version("libjpeg_turbo") or f"libjpeg {features.version('jpg')}"
    simplejpeg = version("simplejpeg") if find_spec("simplejpeg") else "none"
    return {"resize": RESIZE_RULE, "pillow": PIL.__version__, "libjpeg": libjpeg, "simplejpeg": simplejpeg}


def require_same_pixels(driver: Mapping[str, str], here: Mapping[str, str]) -> None:
    """Raise RunError if pixels made here may differ from those of the driver's machine."""
    theirs, ours = deciding(driver), deciding(here)
    found = [
        f"{_LABELS[name]} {here[name]} here and {driver[name]} there" for name in theirs if theirs[name] != ours[name]
    ]
    if found:
        raise RunError(
            f"{socket.gethostname()} would make other pixels than the driver's machine: {', '.join(found)}. Install "
            "the same versions of hanclip and Pillow on every machine."
        )
