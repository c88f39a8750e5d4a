"""Captions for medical images, with the reasons for every word. Software for research, not a medical device."""

import os

__version__ = "0.1.0"

# Pixels of one image, at most. OpenCV takes its limit from the environment, once, when it is loaded.
MAX_PIXELS = 100_000_000
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(MAX_PIXELS))
