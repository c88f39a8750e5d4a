"""Captions for medical images, with the reasons for every word. Software for research, not a medical device."""

__version__ = "0.1.0"
