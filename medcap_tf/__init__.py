"""Captions for medical images, and why each has its words. Software for research, not a medical device.

>>> import medcap_tf
>>> captioner = medcap_tf.load("runs/demo")
>>> caption = captioner.caption("scan.png")
>>> captioner.explain(caption).report("why")
"""

import importlib
import os
from typing import Any

__version__ = "0.2.0"

# Pixels of one image, at most. OpenCV takes its limit from the environment, once, when it is loaded.
MAX_PIXELS = 100_000_000
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(MAX_PIXELS))

# Public names by the module that defines them. They are loaded when they are first used: TensorFlow takes seconds.
_PUBLIC = {
    "load": "api",
    "train": "api",
    "export": "api",
    "Captioner": "api",
    "Caption": "caption",
    "Explanation": "api",
    "Config": "config",
    "InputError": "errors",
}
__all__ = ["MAX_PIXELS", "__version__", *_PUBLIC]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_PUBLIC[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
