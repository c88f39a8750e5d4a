"""The sheet that every scene is drawn on, in body coordinates: brushes, random outlines, fields and noise."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from medcap_tf.phantoms.findings import Finding

_SIZES = {"small": (0.085, 0.105), "large": (0.185, 0.235)}  # diameter of a finding as a share of the image's width


class Canvas:
    """A picture in progress: `image` float32 [H, W] around 0..1, `mask` bool [H, W]; brushes in body coordinates."""

    def __init__(self, rng: np.random.Generator, long_side: tuple[int, int], aspect: tuple[float, float], fill: float):
        side, ratio = rng.integers(*long_side), rng.uniform(*aspect)
        self.width, self.height = (side, round(side / ratio)) if ratio > 1 else (round(side * ratio), side)
        self.width, self.height = int(self.width), int(self.height)
        self.rng = rng
        self.image = np.zeros((self.height, self.width), np.float32)
        self.mask = np.zeros((self.height, self.width), bool)
        tilt, size = rng.normal(0, 0.035), np.array([self.width, self.height])
        center = size * (0.5 + rng.uniform(-0.02, 0.02, 2))
        self._lay_out(center, size / 2 * fill * rng.uniform(0.94, 1.03, 2), tilt)

    def _lay_out(self, center: np.ndarray, half: np.ndarray, tilt: float) -> None:
        """Set body coordinates: their origin and unit in pixels (x, y), and their turn in radians."""
        self.center, self.half, self.tilt = center, half, tilt
        rows, columns = np.mgrid[: self.height, : self.width].astype(np.float32)
        across, down = columns - np.float32(self.center[0]), rows - np.float32(self.center[1])
        cos, sin = np.float32(np.cos(self.tilt)), np.float32(np.sin(self.tilt))
        self.x = (across * cos + down * sin) / np.float32(self.half[0])
        self.y = (down * cos - across * sin) / np.float32(self.half[1])

    def pixels(self, points: np.ndarray) -> np.ndarray:
        """Body coordinates [N, 2] -> pixels [N, 2] in sixteenths, as OpenCV's `shift=4` wants them."""
        x, y = (np.asarray(points, float) * self.half).T
        cos, sin = np.cos(self.tilt), np.sin(self.tilt)
        turned = np.stack([x * cos - y * sin, x * sin + y * cos], axis=1) + self.center
        return np.round(turned * 16).astype(np.int32)

    def area(self, points: np.ndarray) -> np.ndarray:
        """The inside of a closed outline: float32 [H, W], 0..1, with smooth edges."""
        inside = np.zeros((self.height, self.width), np.uint8)
        cv2.fillPoly(inside, [self.pixels(points)], (255,), cv2.LINE_AA, 4)
        return inside.astype(np.float32) / 255

    def shape(self, corners: Sequence[tuple[float, float]]) -> np.ndarray:
        """The inside of a rounded outline through a few corners, each a little displaced: no two bodies agree."""
        points = np.array(corners) + self.rng.normal(0, 0.012, (len(corners), 2))
        for _ in range(3):  # Chaikin's corner cutting
            after = np.roll(points, -1, axis=0)
            points = np.stack([0.75 * points + 0.25 * after, 0.25 * points + 0.75 * after], axis=1).reshape(-1, 2)
        return self.area(points)

    def blob(self, x: float, y: float, rx: float, ry: float, tilt: float = 0.0, wobble: float = 0.03) -> np.ndarray:
        """A filled ellipse whose outline wanders by about `wobble` of its radius: float32 [H, W], 0..1."""
        angle = np.linspace(0, 2 * np.pi, 48, endpoint=False)
        waves = np.arange(2, 6)[:, None]
        phases = self.rng.uniform(0, 2 * np.pi, (4, 1))
        radius = 1 + wobble * (np.cos(waves * angle + phases) * self.rng.normal(0, 1, (4, 1)) / np.sqrt(waves)).sum(0)
        a, b = rx * radius * np.cos(angle), ry * radius * np.sin(angle)
        cos, sin = np.cos(tilt), np.sin(tilt)
        return self.area(np.stack([x + a * cos - b * sin, y + a * sin + b * cos], axis=1))

    def paint(self, area: np.ndarray, value: float | np.ndarray, soft: float = 0.8, strength: float = 1.0) -> None:
        """Moves the image towards `value` over `area`, its edge blurred by `soft` pixels."""
        cover = cv2.GaussianBlur(area, (0, 0), soft) if soft else area
        self.image += (value - self.image) * (cover * np.float32(strength))

    def line(self, lines: Sequence[np.ndarray], width: float) -> np.ndarray:
        """Lines (each [N, 2]) of `width` shares of the image's width: float32 [H, W], 0..1."""
        drawn = np.zeros((self.height, self.width), np.uint8)
        thick = max(1, round(width * self.width))
        cv2.polylines(drawn, [self.pixels(line) for line in lines], False, (255,), thick, cv2.LINE_AA, 4)
        return drawn.astype(np.float32) / 255

    def bent(self, way: Sequence[tuple[float, float]]) -> np.ndarray:
        """A smooth line [N, 2] through about these points."""
        points = np.array(way) + self.rng.normal(0, 0.01, (len(way), 2))
        for _ in range(3):
            first, last, middle = points[:1], points[-1:], (points[:-1], points[1:])
            cut = np.stack([0.75 * middle[0] + 0.25 * middle[1], 0.25 * middle[0] + 0.75 * middle[1]], axis=1)
            points = np.concatenate([first, cut.reshape(-1, 2), last])
        return points

    def stroke(self, lines: Sequence[np.ndarray], width: float, gain: float, soft: float = 0.8) -> None:
        """Adds `gain` along such lines, their edges blurred by `soft` pixels."""
        self.image += cv2.GaussianBlur(self.line(lines, width), (0, 0), soft) * np.float32(gain)

    def field(self, cells: int) -> np.ndarray:
        """A smooth random field with about `cells` bumps along each axis: float32 [H, W], mean 0, spread about 1."""
        coarse = self.rng.standard_normal((cells + 2, cells + 2), np.float32)
        return cv2.resize(coarse, (self.width, self.height), interpolation=cv2.INTER_CUBIC)

    def grain(self) -> np.ndarray:
        """Independent standard normal noise: float32 [H, W]."""
        return self.rng.standard_normal((self.height, self.width), np.float32)

    def write(self, text: str, x: float, y: float, scale: float, brightness: float) -> None:
        """Burns text into the picture, its lower left corner at shares (x, y) of the image's width and height."""
        place = (round(x * self.width), round(y * self.height))
        cv2.putText(self.image, text, place, cv2.FONT_HERSHEY_SIMPLEX, scale, (brightness,), 1, cv2.LINE_AA)

    def near(self, value: float, spread: float = 0.04) -> float:
        """`value` varied by a normal with the given standard deviation."""
        return float(value + self.rng.normal(0, spread))

    def spots(
        self, finding: Finding, x: float, y: float, turn: float = np.pi / 2
    ) -> list[tuple[float, float, float, float]]:
        """Center and radii (x, y, rx, ry) in body coordinates for each spot of a finding; two lie along `turn`."""
        radius = self.rng.uniform(*_SIZES[finding.size]) * self.width / 2
        rx, ry = radius / self.half
        if finding.number == 1:
            return [(x, y, rx, ry)]
        turn, apart = turn + self.rng.uniform(-0.3, 0.3), self.rng.uniform(1.5, 1.8)
        dx, dy = apart * rx * np.cos(turn), apart * ry * np.sin(turn)
        return [(x - dx, y - dy, rx, ry), (x + dx, y + dy, rx, ry)]


def sign_of(side: str) -> int:
    """-1 where the patient's right lies, 1 where the left lies."""
    return -1 if side == "right" else 1
