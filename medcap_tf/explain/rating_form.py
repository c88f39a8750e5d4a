"""A form on which people rate captions: one HTML file with images, captions and five criteria, that saves a table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from medcap_tf.data.images import read_image
from medcap_tf.evaluation.ratings import CRITERIA, HIGHEST, LOWEST
from medcap_tf.explain.entries import image_values
from medcap_tf.explain.report import page_template
from medcap_tf.files import write_text


class Rated(NamedTuple):
    """One caption to rate."""

    image_id: str
    image: Path
    caption: str


def write_form(path: Path, rated: Sequence[Rated], title: str = "Rating captions") -> Path:
    """Write the form atomically; returns its path. Images are inside it, and it asks nothing of a network.

    Args:
        path: the HTML file.
        rated: what is rated, in this order; neither reference nor method is shown, which would bias raters.
        title: the page's heading.

    Raises:
        InputError: an image cannot be read.
    """
    items = [
        {
            "id": one.image_id,
            "number": number,
            "src": image_values(read_image(one.image))["src"],
            "caption": one.caption,
        }
        for number, one in enumerate(rated)
    ]
    write_text(
        path,
        page_template("ratings").render(title=title, criteria=CRITERIA, lowest=LOWEST, highest=HIGHEST, items=items),
    )
    return path
