"""Stand-ins for real images: a noisy body on black ground, drawn by the tests."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np


def section(seed: int = 0, height: int = 200, width: int = 240, noise: float = 6) -> np.ndarray:
    """uint8 [H, W]: an ellipse of tissue of brightness 120 in a rim of 220, with noise, on black."""
    image = np.zeros((height, width), np.float32)
    middle, radii = (width // 2, height // 2), (width * 2 // 5, height * 2 // 5)
    cv2.ellipse(image, middle, radii, 0, 0, 360, (220,), -1)
    cv2.ellipse(image, middle, (radii[0] - 6, radii[1] - 6), 0, 0, 360, (120,), -1)
    image = cv2.GaussianBlur(image, (0, 0), 1)
    grain = np.random.default_rng(seed).normal(0, noise, image.shape)
    return np.rint(np.clip(image + grain * (image > 5), 0, 255)).astype(np.uint8)


def write(path: Path, picture: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), picture)


def dataset(root: Path, counts: dict[str, int], caption: str = "Axial CT of the brain, case {}.") -> Path:
    """A data set of such images, all different, with captions and one concept."""
    number = 0
    for split, count in counts.items():
        captions, concepts = ["ID,Caption"], ["ID,CUIs"]
        for _ in range(count):
            write(root / split / "images" / f"scan{number}.png", section(number))
            captions.append(f'scan{number},"{caption.format(number)}"')
            concepts.append(f"scan{number},C0040405")
            number += 1
        (root / split / "captions.csv").write_text("\n".join(captions))
        (root / split / "concepts.csv").write_text("\n".join(concepts))
    return root
