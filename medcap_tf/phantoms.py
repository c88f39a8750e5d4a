"""The embedded data set: SYNTHETIC radiology-like images, drawn from a seed, with captions, concepts and finding masks.

Nothing here was taken from a patient, and nothing here may be read as medical evidence. The phantoms exist so that
training, evaluation and explanation can be tried, and held against a known truth, where no medical data may travel.
They look like what they are named after (radiograph, CT, MR, ultrasound; chest, brain, abdomen), state only what is
drawn, and follow the radiological convention: the patient's right is on the left of the image. An ultrasound shows
one organ from close by, so there the side of a kidney is told by its neighbour (liver: right, spleen: left) instead.

Axes: H, W = height and width of an image in pixels; N = points of an outline.
Body coordinates: x and y run from -1 (image left, top) to 1 (image right, bottom) over the part that is shown.
"""

from __future__ import annotations

import io
import re
import shutil
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Callable, NamedTuple, Union

import cv2
import numpy as np
from openpyxl import Workbook
from tqdm import tqdm

from medcap_tf.errors import InputError

# UMLS codes and names. Every code was checked against the CUI tables of ROCO: captions that carry it hold its word.
# Those tables code no "left", "right" or "normal" and no lung nodule, hence no code for a side, and "Lesion" for a
# nodule; they mark MR images with "Resonance".
CONCEPTS: Mapping[str, str] = {
    "C1306645": "Plain x-ray",
    "C0040405": "X-Ray Computed Tomography",
    "C0231881": "Resonance",
    "C0041618": "Ultrasonography",
    "C0817096": "Chest",
    "C0006104": "Brain",
    "C0000726": "Abdomen",
    "C0024109": "Lung",
    "C0023884": "Liver",
    "C0022646": "Kidney",
    "C0016976": "Gallbladder",
    "C0221198": "Lesion",
    "C0013687": "Effusion",
    "C0032326": "Pneumothorax",
    "C0521530": "Lung consolidation",
    "C0019080": "Hemorrhage",
    "C0021308": "Infarction",
    "C0027651": "Neoplasms",
    "C0010709": "Cyst",
    "C0577559": "Mass of body structure",
    "C0006736": "Calculi",
    "C0008350": "Cholelithiasis",
}

_CODES = {
    **{"radiograph": "C1306645", "CT": "C0040405", "MR": "C0231881", "ultrasound": "C0041618"},
    **{"chest": "C0817096", "brain": "C0006104", "abdomen": "C0000726"},
    **{"lung": "C0024109", "liver": "C0023884", "kidney": "C0022646", "gallbladder": "C0016976"},
    **{"nodule": "C0221198", "effusion": "C0013687", "pneumothorax": "C0032326", "consolidation": "C0521530"},
    **{"hemorrhage": "C0019080", "infarct": "C0021308", "tumor": "C0027651"},
    **{"cyst": "C0010709", "mass": "C0577559", "stone": "C0006736", "gallstone": "C0008350"},
}

NORMAL_SHARE = 0.2
_EDITION = 1  # raised whenever the same seed draws other pictures, so that old and new phantoms never mix in a folder
_SIZES = {"small": (0.085, 0.105), "large": (0.185, 0.235)}  # diameter of a finding as a share of the image's width
_LUNG = (("nodule", "lung"), ("consolidation", "lung"), ("effusion", "pleura"), ("pneumothorax", "pleura"))
_SOFT = tuple((kind, organ) for kind in ("cyst", "mass") for organ in ("liver", "kidney"))
_STONES = (("stone", "gallbladder"), ("stone", "kidney"))
_FINDINGS = {
    ("radiograph", "chest"): _LUNG,
    ("CT", "chest"): _LUNG,
    # Bleeding twice: MR shows the other two as well, and no kind should be too rare to be learnt.
    ("CT", "brain"): (*(("hemorrhage", "brain"),) * 2, ("infarct", "brain"), ("tumor", "brain")),
    ("MR", "brain"): (("cyst", "brain"), ("infarct", "brain"), ("tumor", "brain")),
    ("CT", "abdomen"): _SOFT + _STONES,
    ("MR", "abdomen"): _SOFT,
    ("ultrasound", "abdomen"): _SOFT + _STONES,
}
_SHARES = (0.24, 0.14, 0.13, 0.15, 0.10, 0.08, 0.16)  # of the scenes above, in their order

# Brightness (0..1) of tissues under each contrast: what CT attenuates, what T1 and T2 relaxation make bright.
_TISSUES = "air fat soft bone fluid blood white grey liver spleen kidney mass rim edema infarct".split()
_TISSUE = {
    "CT": dict(zip(_TISSUES, (0.02, 0.26, 0.46, 0.97, 0.2, 0.72, 0.42, 0.5, 0.56, 0.6, 0.7, 0.36, 0.86, 0.3, 0.24))),
    "T1": dict(zip(_TISSUES, (0.02, 0.85, 0.36, 0.1, 0.08, 0.2, 0.64, 0.47, 0.55, 0.38, 0.42, 0.24, 0.92, 0.32, 0.25))),
    "T2": dict(zip(_TISSUES, (0.02, 0.7, 0.26, 0.08, 0.98, 0.08, 0.33, 0.47, 0.32, 0.5, 0.58, 0.5, 0.16, 0.66, 0.76))),
}


class Finding(NamedTuple):
    """What a caption states: `side` "left", "right" or "" (not stated), `zone` a word or "", `number` 1 or 2."""

    kind: str
    organ: str
    side: str
    zone: str
    size: str
    number: int


class Phantom(NamedTuple):
    """A synthetic image: `image` uint8 [H, W]; `mask` uint8 [H, W], 255 on the finding and 0 elsewhere; what it shows.

    `concepts` are UMLS codes (keys of `CONCEPTS`). `finding` is None, and `mask` all zero, in a normal image.
    """

    image: np.ndarray
    mask: np.ndarray
    caption: str
    concepts: tuple[str, ...]
    modality: str
    region: str
    finding: Finding | None


# ---------------------------------------------------------------------------------------------------------- canvas


class _Canvas:
    """A picture in progress: `image` float32 [H, W] around 0..1, `mask` bool [H, W]; brushes in body coordinates."""

    def __init__(self, rng: np.random.Generator, long_side: tuple[int, int], aspect: tuple[float, float], fill: float):
        side, ratio = rng.integers(*long_side), rng.uniform(*aspect)
        self.width, self.height = (side, round(side / ratio)) if ratio > 1 else (round(side * ratio), side)
        self.width, self.height = int(self.width), int(self.height)
        self.rng = rng
        self.image = np.zeros((self.height, self.width), np.float32)
        self.mask = np.zeros((self.height, self.width), bool)
        self.tilt = rng.normal(0, 0.035)
        size = np.array([self.width, self.height])
        self.centre = size * (0.5 + rng.uniform(-0.02, 0.02, 2))
        self.half = size / 2 * fill * rng.uniform(0.94, 1.03, 2)
        rows, columns = np.mgrid[: self.height, : self.width].astype(np.float32)
        across, down = columns - np.float32(self.centre[0]), rows - np.float32(self.centre[1])
        cos, sin = np.float32(np.cos(self.tilt)), np.float32(np.sin(self.tilt))
        self.x = (across * cos + down * sin) / np.float32(self.half[0])
        self.y = (down * cos - across * sin) / np.float32(self.half[1])

    def pixels(self, points: np.ndarray) -> np.ndarray:
        """Body coordinates [N, 2] -> pixels [N, 2] in sixteenths, as OpenCV's `shift=4` wants them."""
        x, y = (np.asarray(points, float) * self.half).T
        cos, sin = np.cos(self.tilt), np.sin(self.tilt)
        turned = np.stack([x * cos - y * sin, x * sin + y * cos], axis=1) + self.centre
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

    def stroke(self, lines: Sequence[np.ndarray], width: float, gain: float, soft: float = 0.8) -> None:
        """Adds `gain` along lines (each [N, 2]) of `width` shares of the image's width."""
        drawn = np.zeros((self.height, self.width), np.uint8)
        thick = max(1, round(width * self.width))
        cv2.polylines(drawn, [self.pixels(line) for line in lines], False, (255,), thick, cv2.LINE_AA, 4)
        self.image += cv2.GaussianBlur(drawn, (0, 0), soft).astype(np.float32) * np.float32(gain / 255)

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
        """Centre and radii (x, y, rx, ry) in body coordinates for each spot of a finding; two lie along `turn`."""
        radius = self.rng.uniform(*_SIZES[finding.size]) * self.width / 2
        rx, ry = radius / self.half
        if finding.number == 1:
            return [(x, y, rx, ry)]
        turn, apart = turn + self.rng.uniform(-0.3, 0.3), self.rng.uniform(1.5, 1.8)
        dx, dy = apart * rx * np.cos(turn), apart * ry * np.sin(turn)
        return [(x - dx, y - dy, rx, ry), (x + dx, y + dy, rx, ry)]


def _sign(side: str) -> int:
    """-1 where the patient's right lies, 1 where the left lies."""
    return -1 if side == "right" else 1


# ------------------------------------------------------------------------------------------------------------ chest


def _film_lung(sign: int) -> list[tuple[float, float]]:
    """The outline of a lung on a frontal film; the left one ends a little lower, as its half of the diaphragm does."""
    drop = 0.05 if sign > 0 else 0.0
    apex = [(0.2, -0.62), (0.3, -0.84), (0.46, -0.74), (0.66, -0.4), (0.79, 0.05), (0.84, 0.42), (0.84, 0.62 + drop)]
    base = [(0.72, 0.5 + drop), (0.45, 0.36 + drop), (0.16, 0.5 + drop), (0.14, 0.2), (0.17, -0.15)]
    return [(sign * x, y) for x, y in apex + base]


def _chest_film(rng: np.random.Generator, finding: Finding | None, contrast: str) -> _Canvas:
    c = _Canvas(rng, (236, 289), (0.84, 1.18), 0.97)
    trunk = [(-0.3, -1.3), (-0.36, -0.98), (-0.98, -0.8), (-1.08, 0), (-1.0, 1.3), (1.0, 1.3), (1.08, 0), (0.98, -0.8)]
    c.image += 0.05
    c.paint(c.shape([*trunk, (0.36, -0.98), (0.3, -1.3)]), c.near(0.6), 4)
    lungs = {sign: c.shape(_film_lung(sign)) for sign in (-1, 1)}
    air = c.near(0.24, 0.025)
    for lung in lungs.values():
        c.paint(lung, air, 2.5)
    c.paint(c.area(np.array([(-0.13, -1.1), (0.13, -1.1), (0.12, 1.1), (-0.12, 1.1)])), c.near(0.7, 0.02), 4, 0.8)
    c.paint(c.area(np.array([(-0.04, -1.1), (0.04, -1.1), (0.04, -0.42), (-0.04, -0.42)])), 0.42, 2, 0.8)
    c.paint(c.blob(0.14, 0.24, c.near(0.32, 0.025), c.near(0.3, 0.02), 0.5), c.near(0.78, 0.03), 3)
    if rng.random() < 0.5:  # the air bubble of the stomach
        c.paint(c.blob(0.42, 0.64, 0.14, 0.07), 0.34, 3, 0.8)
    if finding and finding.organ == "pleura":
        _film_pleura(c, finding, lungs)
    elif finding:
        _lung_spots(c, finding, lungs[_sign(finding.side)], {"upper": (-0.46, -0.2), "lower": (0.1, 0.3)}, (0.42, 0.55))
    _bones_and_vessels(c, lungs, finding)
    if rng.random() < 0.7:
        c.write("R", rng.uniform(0.02, 0.08), rng.uniform(0.08, 0.16), 0.5, 0.95)
    if rng.random() < 0.25:  # leads of an electrocardiogram
        ends = rng.uniform(-0.7, 0.7, (2, 2))
        c.stroke([np.stack([end, end * 0.6 + (0.2, 0.35), (end[0], 1.1)]) for end in ends], 0.004, 0.3, 0.5)
    c.image += 0.05 * rng.normal() * c.x + 0.04 * c.y + 0.03 * c.grain() + 0.02 * c.field(5)
    return c


def _bones_and_vessels(c: _Canvas, lungs: Mapping[int, np.ndarray], finding: Finding | None) -> None:
    """Ribs, collar bones and the branching vessels of the lungs; the air around a collapsed lung has none."""
    ribs, vessels = [], []
    turn = np.linspace(0, 1, 12)
    for sign in (-1, 1):
        for level in np.linspace(-0.8, 0.5, 8):
            x = 0.1 + (0.72 + 0.1 * level) * np.sin(turn * np.pi / 2)
            ribs.append(np.stack([sign * x, level - 0.1 * np.sin(turn * np.pi) + 0.26 * turn**2], axis=1))
        for angle in c.rng.uniform(-1.2, 1.2, 9):
            reach = np.array([0, 0.22, 0.42])[:, None]
            heading = np.array([[sign * np.cos(angle), np.sin(angle)]])
            vessels.append(np.array([[sign * 0.18, -0.02]]) + reach * heading + c.rng.normal(0, 0.015, (3, 2)))
    collar = [np.array([(s * 0.08, -0.66), (s * 0.4, -0.76), (s * 0.85, -0.84)]) for s in (-1, 1)]
    c.stroke(ribs, 0.03, c.near(0.075, 0.015), 1.2)
    c.stroke(collar, 0.035, c.near(0.12, 0.02), 1.2)
    before = c.image.copy()
    c.stroke(vessels, 0.011, 0.09, 1.4)
    if finding and finding.kind == "pneumothorax":
        c.image[c.mask] = before[c.mask]


def _lung_spots(
    c: _Canvas, finding: Finding, lung: np.ndarray, zones: Mapping[str, tuple[float, float]], x: tuple[float, float]
) -> None:
    """Nodules (round, sharp, even) or a consolidation (larger, ragged, patchy) in a zone of one lung."""
    zone = zones[finding.zone]
    middle = c.rng.uniform(*zone) if finding.number == 1 else min(zone, key=abs)  # room for two within the lung
    place = _sign(finding.side) * c.rng.uniform(*x), middle
    for spot_x, spot_y, rx, ry in c.spots(finding, *place):
        if finding.kind == "nodule":
            spot = c.blob(spot_x, spot_y, rx, ry, wobble=0.05) * lung
            c.paint(spot, c.near(0.74, 0.03))
        else:
            spot = c.blob(spot_x, spot_y, 1.9 * rx, 1.3 * ry, c.rng.uniform(-0.5, 0.5), 0.22) * lung
            c.paint(spot, 0.62 + 0.12 * c.field(18), 2.5)
        c.mask |= spot > 0.5


def _film_pleura(c: _Canvas, finding: Finding, lungs: Mapping[int, np.ndarray]) -> None:
    """Fluid that hides the base and climbs along the chest wall, or air between the wall and a collapsed lung."""
    sign, large = _sign(finding.side), finding.size == "large"
    lung = lungs[sign]
    if finding.kind == "effusion":
        level = c.rng.uniform(-0.12, 0.06) if large else c.rng.uniform(0.3, 0.36)
        outside = np.clip(sign * c.x, 0, 1)
        part = lung * (c.y > level - 0.3 * (outside - 0.5) * np.abs(outside - 0.3) * 2)
        c.paint(part, c.near(0.76, 0.02), 2.5)
    else:
        rest = c.rng.uniform(0.5, 0.62) if large else c.rng.uniform(0.76, 0.8)
        hilum = np.array([sign * 0.15, 0.1])
        outline = (np.array(_film_lung(sign)) - hilum) * (rest, rest + 0.06) + hilum
        kept = c.shape([(x, y) for x, y in outline])
        part = lung * (1 - kept)
        c.paint(lung * kept, 0.36 if large else 0.3, 1.5)
        c.paint(part, 0.07, 0.8)
    c.mask |= part > 0.5


def _chest_ct(rng: np.random.Generator, finding: Finding | None, contrast: str) -> _Canvas:
    c = _Canvas(rng, (244, 289), (1.08, 1.32), 0.93)
    t = _TISSUE["CT"]
    _body(c, t)
    lungs = {s: c.blob(s * 0.46, c.near(0, 0.02), c.near(0.32, 0.012), c.near(0.6, 0.02), -s * 0.12) for s in (-1, 1)}
    for lung in lungs.values():
        c.paint(lung, 0.15, 1)
        vessels = lung * (cv2.GaussianBlur(c.grain(), (0, 0), 1.6) > 0.32)
        c.paint(vessels, 0.45, 0.6, 0.8)
    heart = c.blob(0.1, -0.2, c.near(0.3, 0.02), c.near(0.32, 0.02), 0.4)
    c.paint(heart, c.near(0.58, 0.02), 1)
    lungs = {side: lung * (1 - heart) for side, lung in lungs.items()}
    c.paint(c.blob(0.12, 0.36, 0.08, 0.1), c.near(0.68), 0.8)
    if finding and finding.organ == "pleura":
        lung, large = lungs[_sign(finding.side)], finding.size == "large"
        fluid = finding.kind == "effusion"  # water sinks to the back, air rises to the front
        level = c.rng.uniform(0.02, 0.12) if large else c.rng.uniform(0.27, 0.33)
        bend = 0.25 * (_sign(finding.side) * c.x - 0.46)
        part = lung * ((c.y > level - bend) if fluid else (c.y < -level + bend))
        c.paint(part, c.near(0.42, 0.015) if fluid else 0.0, 0.8)
        c.mask |= part > 0.5
    elif finding:
        zones = {"anterior": (-0.34, -0.2), "posterior": (0.16, 0.3)}
        _lung_spots(c, finding, lungs[_sign(finding.side)], zones, (0.48, 0.54))
    _rib_cage(c, t, 0.84, 11)
    _scanner(c)
    return c


# ---------------------------------------------------------------------------------------------------- trunk and CT


def _body(c: _Canvas, t: Mapping[str, float]) -> None:
    """The outline of an axial trunk: air around, a rim of fat, muscle within, spine at the back."""
    c.image += t["air"]
    c.paint(c.blob(0, 0, 0.98, 0.97, wobble=0.012), t["fat"])
    rim = c.rng.uniform(0.04, 0.1)
    c.paint(c.blob(0, 0.01, 0.98 - rim, 0.95 - 1.2 * rim, wobble=0.015), t["soft"])
    c.paint(c.blob(0, 0.56, 0.13, 0.15), t["bone"], 1, 0.8)
    c.paint(c.blob(0, 0.74, 0.05, 0.14), t["bone"], 1, 0.8)
    c.paint(c.blob(0, 0.69, 0.06, 0.055), t["fluid"] if t["fluid"] > 0.5 else t["soft"], 0.8)


def _rib_cage(c: _Canvas, t: Mapping[str, float], reach: float, count: int) -> None:
    """Ribs cut across: short arcs just inside of the body's outline, and the breastbone when the chest is shown."""
    for sign in (-1, 1):
        for angle in np.linspace(-1.1, 1.2, count) + c.rng.normal(0, 0.04, count):
            span = angle + np.linspace(-0.07, 0.07, 4)
            arc = np.stack([sign * reach * np.cos(span), reach * 0.96 * np.sin(span)], axis=1)
            c.stroke([arc], 0.022, 0.55 * (t["bone"] - t["soft"]) / 0.5, 0.7)


def _scanner(c: _Canvas) -> None:
    """What CT adds to a picture: quantum noise, the table, a line of text."""
    if c.rng.random() < 0.6:
        across = np.linspace(-0.9, 0.9, 16)
        c.stroke([np.stack([across, 1.06 - 0.08 * across**2], axis=1)], 0.008, 0.4)
    if c.rng.random() < 0.4:
        c.write(f"IM {c.rng.integers(10, 99)}", 0.02, 0.06, 0.3, 0.7)
    c.image += c.rng.uniform(0.022, 0.04) * cv2.GaussianBlur(c.grain(), (0, 0), 0.7) * 2


def _magnet(c: _Canvas) -> None:
    """What MR adds to a picture: the coils' uneven gain, and Rician noise (the magnitude of a complex signal)."""
    c.image *= 1 + 0.1 * c.field(2) + 0.1 * c.rng.normal() * c.x
    noise = c.rng.uniform(0.02, 0.035)
    c.image = np.hypot(c.image + noise * c.grain(), noise * c.grain())


# ------------------------------------------------------------------------------------------------------------ brain


def _brain(rng: np.random.Generator, finding: Finding | None, contrast: str) -> _Canvas:
    c = _Canvas(rng, (236, 289), (0.8, 1.02), 0.9)
    t = _TISSUE[contrast]
    ct = contrast == "CT"
    c.image += t["air"]
    width = c.near(0.92, 0.03)
    c.paint(c.blob(0, 0, width, 0.98, wobble=0.01), t["fat"] if not ct else t["soft"])
    c.paint(c.blob(0, 0, width - 0.045, 0.94, wobble=0.008), t["bone"])
    c.paint(c.blob(0, 0, width - 0.125, 0.855, wobble=0.01), t["fluid"])
    brain = c.blob(0, 0, width - 0.15, 0.83, wobble=0.012)
    c.paint(brain, t["grey"])
    _folds(c, t, width - 0.15)
    for sign in (-1, 1):
        core = c.blob(sign * 0.33, 0, 0.24, 0.56, wobble=0.09)
        c.paint(core, t["white"] + 0.02 * c.field(8), 2.5)
        front, back = c.near(0.3, 0.03), c.near(0.33, 0.03)
        c.paint(c.blob(sign * 0.1, -front, 0.05, 0.16, -sign * 0.35), t["fluid"], 1)
        c.paint(c.blob(sign * 0.17, back, 0.055, 0.17, sign * 0.3), t["fluid"], 1)
        c.paint(c.blob(sign * 0.22, -0.06, 0.09, 0.15, wobble=0.06), t["grey"], 1.5)
    c.stroke([np.array([(0, -0.82), (0, -0.42)]), np.array([(0, 0.42), (0, 0.82)])], 0.008, 0.15 if ct else -0.15)
    if finding:
        _brain_finding(c, finding, t, brain)
    if ct:
        _scanner(c)
    else:
        _magnet(c)
    return c


def _folds(c: _Canvas, t: Mapping[str, float], width: float) -> None:
    """The furrows of the cortex: short lines of fluid that run inwards from the surface."""
    lines = []
    for angle in np.linspace(0, 2 * np.pi, 26, endpoint=False) + c.rng.normal(0, 0.05, 26):
        ends = np.array([1.0, c.rng.uniform(0.8, 0.9)])
        turn = angle + np.array([0, c.rng.normal(0, 0.06)])
        lines.append(np.stack([ends * width * np.cos(turn), ends * 0.83 * np.sin(turn)], axis=1))
    c.stroke(lines, 0.009, 0.7 * (t["fluid"] - t["grey"]), 0.8)


def _brain_finding(c: _Canvas, finding: Finding, t: Mapping[str, float], brain: np.ndarray) -> None:
    """Bleeding (even, bright), infarct (a wedge that opens outwards), tumor (rim and core), cyst (fluid, round)."""
    x, y = {"frontal": (0.34, -0.48), "parietal": (0.5, 0.06), "occipital": (0.32, 0.52)}[finding.zone]
    x, y = _sign(finding.side) * c.near(x, 0.03), c.near(y, 0.03)
    ((x, y, rx, ry),) = c.spots(finding, x, y)
    if finding.kind == "infarct":
        spot = c.shape(_wedge(1.12 * x, 1.12 * y, 1.5 * rx, 1.5 * ry)) * brain
        c.paint(spot, t["infarct"] + 0.02 * c.field(12), 1.5)
    else:
        spot = c.blob(x, y, rx, ry, wobble=0.02 if finding.kind == "cyst" else 0.09) * brain
    if finding.kind in ("hemorrhage", "tumor"):
        c.paint(c.blob(x, y, 1.45 * rx, 1.45 * ry, wobble=0.15) * brain, t["edema"], 2)
    if finding.kind == "hemorrhage":
        c.paint(spot, 0.86 + 0.03 * c.field(14), 0.8)
    elif finding.kind == "tumor":
        c.paint(spot, t["rim"], 0.8)
        c.paint(c.blob(x, y, 0.58 * rx, 0.58 * ry, wobble=0.12), t["mass"], 0.8)
    elif finding.kind == "cyst":
        c.paint(spot, t["fluid"], 0.6)
    c.mask |= spot > 0.5


def _wedge(x: float, y: float, rx: float, ry: float) -> list[tuple[float, float]]:
    """The corners of a triangle around (x, y) that opens towards the surface of the brain."""
    heading = np.arctan2(y / ry, x / rx)
    turns = [heading + turn for turn in (np.pi, -0.75, 0.0, 0.75)]
    return [(x + rx * np.cos(turn), y + ry * np.sin(turn)) for turn in turns]


# ---------------------------------------------------------------------------------------------------------- abdomen


def _abdomen(rng: np.random.Generator, finding: Finding | None, contrast: str) -> _Canvas:
    c = _Canvas(rng, (244, 289), (1.1, 1.34), 0.94)
    t = _TISSUE[contrast]
    _body(c, t)
    c.paint(c.blob(0.02, -0.08, 0.74, 0.62, wobble=0.02), t["fat"] * 0.8 + 0.2 * t["soft"], 1.5)
    for _ in range(5):  # loops of bowel
        c.paint(c.blob(rng.uniform(-0.1, 0.5), rng.uniform(-0.5, 0.15), 0.12, 0.12, wobble=0.1), t["soft"], 1)
    c.paint(c.blob(0.34, -0.42, c.near(0.24, 0.02), 0.2, 0.4), t["soft"] + 0.04, 1)
    c.paint(c.blob(0.36, -0.52, 0.14, 0.06), t["air"], 1)
    right = [(-0.8, 0.1), (-0.76, -0.36), (-0.45, -0.68), (-0.05, -0.72), (0.34, -0.6), (0.2, -0.36), (-0.12, -0.2)]
    c.paint(c.shape([*right, (-0.28, 0.05), (-0.52, 0.44), (-0.7, 0.46)]), t["liver"] + 0.015 * c.field(24), 1)
    c.paint(c.blob(0.68, 0.12, 0.13, c.near(0.3, 0.02), -0.15), t["spleen"], 1)
    for sign in (-1, 1):
        kidney = c.blob(sign * 0.4, c.near(0.42, 0.02), c.near(0.17, 0.01), c.near(0.22, 0.012), sign * 0.3)
        c.paint(kidney, t["kidney"], 1)
        c.paint(c.blob(sign * 0.35, 0.4, 0.06, 0.09, wobble=0.1), t["fat"], 1.2)
    c.paint(c.blob(0.06, 0.32, 0.065, 0.075), t["blood"], 0.8)
    c.paint(c.blob(-0.09, 0.3, 0.07, 0.06), t["blood"] * 0.9, 0.8)
    stones_here = finding is not None and finding.organ == "gallbladder"
    if stones_here or rng.random() < 0.6:
        grown = 1.35 if stones_here else 1.0
        c.paint(c.blob(-0.3, -0.14, 0.13 * grown, 0.19 * grown, 0.3), t["fluid"], 0.8)
    if finding:
        _abdomen_finding(c, finding, t)
    _rib_cage(c, t, 0.86, 6)
    if contrast == "CT":
        _scanner(c)
    else:
        _magnet(c)
    return c


def _abdomen_finding(c: _Canvas, finding: Finding, t: Mapping[str, float]) -> None:
    """Cyst (fluid, round), mass (ragged, dark core in a rim) or stone (as bright as bone) in its organ."""
    places = {"right liver": (-0.54, -0.14), "left liver": (0.16, -0.5), "gallbladder": (-0.3, -0.14)}
    sign = _sign(finding.side)
    x, y = places.get(f"{finding.side} {finding.organ}".strip(), (sign * 0.42, 0.38))
    for spot_x, spot_y, rx, ry in c.spots(finding, c.near(x, 0.02), c.near(y, 0.02)):
        if finding.kind == "cyst":
            spot = c.blob(spot_x, spot_y, rx, ry, wobble=0.015)
            c.paint(spot, t["fluid"], 0.6)
        elif finding.kind == "mass":
            spot = c.blob(spot_x, spot_y, rx, ry, wobble=0.12)
            c.paint(spot, t["rim"] + 0.05 * c.field(20), 0.8)
            c.paint(c.blob(spot_x, spot_y, 0.6 * rx, 0.6 * ry, wobble=0.15), t["mass"], 1)
        else:
            spot = c.blob(spot_x, spot_y, 0.85 * rx, 0.85 * ry, wobble=0.08)
            c.paint(spot, 1.0, 0.5)
        c.mask |= spot > 0.5


# ------------------------------------------------------------------------------------------------------- ultrasound


class _Fan(NamedTuple):
    """A curved probe's view, float32 [H, W]: `inside` 0..1; `angle` in radians; `depth` 0 at the skin, 1 at the end."""

    inside: np.ndarray
    angle: np.ndarray
    depth: np.ndarray


def _fan(c: _Canvas) -> _Fan:
    """The polar grid of the probe; its centre lies above the picture."""
    rows, columns = np.mgrid[: c.height, : c.width].astype(np.float32)
    top, reach = np.float32(-0.28 * c.height), np.float32(1.26 * c.height)
    across, down = columns - np.float32(c.centre[0]), rows - top
    depth = (np.hypot(across, down) - 0.32 * c.height) / (reach - 0.32 * c.height)
    angle = np.arctan2(across, down)
    spread = c.rng.uniform(0.56, 0.66)
    inside = ((depth > 0) & (depth < 1) & (np.abs(angle) < spread)).astype(np.float32)
    return _Fan(cv2.GaussianBlur(inside, (0, 0), 0.8), angle, depth)


def _ultrasound(rng: np.random.Generator, finding: Finding | None, contrast: str) -> _Canvas:
    c = _Canvas(rng, (244, 289), (1.1, 1.3), 0.96)
    fan = _fan(c)
    organ = finding.organ if finding else str(rng.choice(["liver", "kidney", "gallbladder"]))
    side = finding.side if finding else str(rng.choice(["left", "right"]))
    c.image += 0.42 + 0.04 * c.field(6)
    c.paint(c.area(np.array([(-1.2, 0.74), (0, 0.86), (1.2, 0.7), (1.2, 1.2), (-1.2, 1.2)])), 0.25, 3)
    c.stroke([np.array([(-0.9, 0.72), (-0.3, 0.83), (0.3, 0.84), (0.9, 0.72)])], 0.014, 0.45, 1.2)  # the diaphragm
    if organ == "kidney":
        _ultrasound_kidney(c, side)
    else:
        _ultrasound_liver(c, organ == "gallbladder")
    gain = np.ones_like(c.image)
    if finding:
        _ultrasound_finding(c, finding, fan, gain)
    layers = 0.25 * np.exp(-((fan.depth - 0.06) ** 2) / 0.0015) + 0.2 * np.exp(-((fan.depth - 0.14) ** 2) / 0.0008)
    c.image = (c.image + layers) * gain * np.exp(-c.rng.uniform(0.2, 0.6) * fan.depth)
    c.image *= 0.35 + 0.52 * _speckle(c)
    c.image *= fan.inside
    if organ == "kidney" and rng.random() < 0.8:
        c.write("LT" if side == "left" else "RT", 0.03, 0.1, 0.45, 0.9)
    for tick in np.linspace(0.1, 0.9, 9):  # the scale of depth
        c.write("-", 0.965, float(tick), 0.3, 0.6)
    return c


def _speckle(c: _Canvas) -> np.ndarray:
    """Fully developed speckle: the Rayleigh amplitude of a blurred complex field, longer across the beam than along."""
    parts = [cv2.GaussianBlur(c.grain(), (0, 0), sigmaX=1.5, sigmaY=0.9) for _ in range(2)]
    amplitude = np.hypot(*parts)
    return amplitude / amplitude.mean()


def _ultrasound_kidney(c: _Canvas, side: str) -> None:
    """A kidney along its length beside its neighbour: the liver at image left (right kidney) or the spleen at right."""
    s = _sign(side)
    neighbour = [(s * 1.3, -1.3), (s * 1.3, 0.5), (s * 0.75, 0.32), (s * 0.2, -0.22), (s * 0.02, -1.3)]
    c.paint(c.shape(neighbour), 0.5 if side == "right" else 0.68, 2)
    if side == "right":  # vessels of the liver
        c.paint(c.blob(s * 0.42, -0.36, 0.13, 0.03, s * 0.4), 0.12, 1.2)
        c.paint(c.blob(s * 0.3, -0.62, 0.035, 0.04), 0.12, 1.2)
    c.paint(c.blob(0, 0.2, 0.56, 0.36, s * 0.12), 0.75, 2)
    c.paint(c.blob(0, 0.2, 0.54, 0.33, s * 0.12), 0.24, 1.2)
    c.paint(c.blob(0, 0.2, 0.27, 0.11, s * 0.12, 0.12), 0.85, 3)


def _ultrasound_liver(c: _Canvas, gallbladder: bool) -> None:
    """The liver with its vessels, or the pear of the gallbladder below it."""
    c.paint(
        c.shape([(-1.3, -1.3), (1.3, -1.3), (1.0, 0.5), (0.2, 0.8), (-0.6, 0.84), (-1.3, 0.7)]), c.near(0.52, 0.02), 2
    )
    for _ in range(3):
        tilt = c.rng.uniform(-0.9, 0.9)
        x, y = c.rng.uniform(-0.5, 0.5), c.rng.uniform(-0.45, 0.6)
        c.paint(c.blob(x, y, c.rng.uniform(0.16, 0.3), 0.026, tilt, 0.1), 0.12, 1.2)
    if gallbladder:
        c.paint(c.blob(0.02, 0.16, 0.47, 0.25, 0.25, 0.04), 0.8, 1.5)
        c.paint(c.blob(0.02, 0.16, 0.45, 0.22, 0.25, 0.04), 0.03, 0.8)


def _ultrasound_finding(c: _Canvas, finding: Finding, fan: _Fan, gain: np.ndarray) -> None:
    """Cyst (black, bright behind), mass (uneven, brighter than its organ), stone (bright, with a shadow behind it)."""
    x, y = (0.0, 0.22) if finding.organ == "gallbladder" else (c.rng.uniform(-0.3, 0.3), c.rng.uniform(-0.1, 0.3))
    if finding.organ == "kidney":  # the upper pole lies at image left, as sonographers hold the probe
        x, y = (-0.3 if finding.zone == "upper" else 0.3), c.near(0.2, 0.02)
    for spot_x, spot_y, rx, ry in c.spots(finding, x, y, turn=0):  # side by side: no shadow on the other
        if finding.kind == "cyst":
            spot = c.blob(spot_x, spot_y, rx, ry, wobble=0.02)
            c.paint(spot, 0.02, 0.6)
            gain[_behind(fan, spot)] *= 1.45
        elif finding.kind == "mass":
            spot = c.blob(spot_x, spot_y, rx, ry, wobble=0.12)
            c.paint(spot, 0.95 + 0.12 * c.field(20), 1)
        else:
            spot = c.blob(spot_x, spot_y, 0.95 * rx, 0.6 * ry, wobble=0.06)
            c.paint(spot, 1.7, 0.8)
            gain[_behind(fan, spot)] *= 0.1
        c.mask |= spot > 0.5
    blurred = cv2.GaussianBlur(gain, (0, 0), 1.5)
    gain[~c.mask] = blurred[~c.mask]


def _behind(fan: _Fan, spot: np.ndarray) -> np.ndarray:
    """The pixels that the beam reaches through the spot: bool [H, W]."""
    covered = spot > 0.5
    angles = fan.angle[covered]
    return (fan.angle > angles.min()) & (fan.angle < angles.max()) & (fan.depth > fan.depth[covered].mean()) & ~covered


_Draw = Callable[[np.random.Generator, Union[Finding, None], str], _Canvas]
_SCENES: Mapping[tuple[str, str], _Draw] = {
    ("radiograph", "chest"): _chest_film,
    ("CT", "chest"): _chest_ct,
    ("CT", "brain"): _brain,
    ("MR", "brain"): _brain,
    ("CT", "abdomen"): _abdomen,
    ("MR", "abdomen"): _abdomen,
    ("ultrasound", "abdomen"): _ultrasound,
}

# ---------------------------------------------------------------------------------------------------------- wording

_OPENINGS = {
    "radiograph": ("Chest radiograph", "Frontal chest radiograph", "Chest X-ray", "Frontal radiograph of the chest"),
    "CT": ("Axial CT of the {0}", "CT scan of the {0}", "Axial CT image of the {0}", "Computed tomography of the {0}"),
    "MR": (
        "Axial {1}-weighted MRI of the {0}",
        "{1}-weighted MRI of the {0}",
        "Axial {1}-weighted MR image of the {0}",
    ),
    "ultrasound": (
        "Ultrasound of the {0}",
        "Ultrasound image of the {0}",
        "Abdominal ultrasound",
        "Sonogram of the {0}",
    ),
}
_LINKS = (" showing ", " shows ", " demonstrating ", " reveals ", ": ")
_NORMAL = (
    "{0} without abnormality",
    "Normal {1} without abnormality",
    "{0} showing no abnormality",
    "{0} with normal findings",
)
_NAMES = {
    "nodule": ("nodule", "pulmonary nodule", "round nodule"),
    "effusion": ("pleural effusion",),
    "pneumothorax": ("pneumothorax",),
    "consolidation": ("consolidation", "airspace consolidation"),
    "hemorrhage": ("hemorrhage", "acute hemorrhage", "hyperdense hemorrhage"),
    "infarct": ("infarct", "ischemic infarct"),
    "tumor": ("tumor", "brain tumor"),
    "cyst": ("cyst", "simple cyst"),
    "mass": ("mass", "solid mass", "heterogeneous mass"),
    "stone": ("stone", "stone", "calculus"),
}
_PLACES = {
    "lung": (
        "in the {zone} zone of the {side} lung",
        "in the {side} {zone} lung",
        "in the {zone} part of the {side} lung",
    ),
    "pleura": ("on the {side}", "on the {side} side", "in the {side} hemithorax"),
    "brain": ("in the {side} {zone} lobe", "in the {zone} lobe on the {side}", "within the {side} {zone} lobe"),
    "liver": ("in the {side} lobe of the liver", "in the {side} hepatic lobe", "within the {side} lobe of the liver"),
    "kidney": ("in the {side} kidney", "within the {side} kidney"),
    "gallbladder": ("in the gallbladder", "within the gallbladder", "in the lumen of the gallbladder"),
}
_ZONED_KIDNEY = ("in the {zone} pole of the {side} kidney", "at the {zone} pole of the {side} kidney")
_PLAIN_LIVER = ("in the liver", "within the liver")
_SIGNS = {
    ("radiograph", "effusion"): "with blunting of the costophrenic angle",
    ("radiograph", "pneumothorax"): "with collapse of the lung",
    ("CT", "hemorrhage"): "with surrounding edema",
    ("CT", "tumor"): "with surrounding edema",
    ("MR", "tumor"): "with surrounding edema",
    ("ultrasound", "stone"): "with posterior acoustic shadowing",
    ("ultrasound", "cyst"): "with posterior enhancement",
}


def _pick(rng: np.random.Generator, wordings: Sequence[str]) -> str:
    """One of the wordings; the first is the commonest, as habits of dictation are."""
    odds = 0.5 ** np.arange(len(wordings))
    return wordings[int(rng.choice(len(wordings), p=odds / odds.sum()))]


def _caption(rng: np.random.Generator, modality: str, region: str, contrast: str, finding: Finding | None) -> str:
    """One sentence: what was taken, what it shows, where."""
    opening = _pick(rng, _OPENINGS[modality]).format(region, contrast)
    lowered = opening if opening[1] in "T12" else opening[0].lower() + opening[1:]
    if finding is None:
        sentence = _pick(rng, _NORMAL).format(opening, lowered)
    else:
        sentence = opening + _pick(rng, _LINKS) + _finding_words(rng, modality, finding)
    return sentence + ("" if rng.random() < 0.1 else ".")


def _finding_words(rng: np.random.Generator, modality: str, finding: Finding) -> str:
    name = _pick(rng, _NAMES[finding.kind])
    if finding.number == 2:
        name = "calculi" if name == "calculus" else name + "s"
    places = _PLACES[finding.organ]
    if finding.organ == "kidney" and finding.zone:
        places = _ZONED_KIDNEY
    elif finding.organ == "liver" and not finding.side:
        places = _PLAIN_LIVER
    place = _pick(rng, places).format(side=finding.side, zone=finding.zone)
    words = f"{'two' if finding.number == 2 else 'a'} {finding.size} {name} {place}"
    sign = _SIGNS.get((modality, finding.kind))
    return f"{words} {sign}" if sign and rng.random() < 0.3 else words


def _choose_finding(rng: np.random.Generator, modality: str, region: str) -> Finding | None:
    """What to draw, among what the modality can show; a normal image in `NORMAL_SHARE` of the cases."""
    choices = _FINDINGS[modality, region]
    kind, organ = choices[rng.integers(len(choices))]
    side, size = ("left", "right")[rng.integers(2)], ("small", "large")[rng.integers(2)]
    normal, pair, draw = rng.random() < NORMAL_SHARE, rng.random() < 0.25, rng.random()
    if normal:
        return None
    zones: tuple[str, ...] = {"lung": ("upper", "lower"), "brain": ("frontal", "parietal", "occipital")}.get(
        organ, ("",)
    )
    if modality == "CT" and organ == "lung":  # an axial section knows front and back, not top and bottom
        zones = ("anterior", "posterior")
    if modality == "ultrasound":
        zones = ("upper", "lower") if organ == "kidney" else ("",)
    if organ == "gallbladder" or (modality == "ultrasound" and organ == "liver"):
        side = ""
    # Two cysts fit neither the brain nor the liver's left lobe, two stones only the gallbladder seen from close by; two
    # large findings, or a large stone, fit no organ.
    room = kind == "nodule" or (kind == "cyst" and organ != "brain" and (organ, side) != ("liver", "left"))
    paired = pair and (room or (modality, organ, kind) == ("ultrasound", "gallbladder", "stone"))
    if paired or kind == "stone":
        size = "small"
    return Finding(kind, organ, side, zones[int(draw * len(zones))], size, 1 + paired)


def _concepts(modality: str, region: str, finding: Finding | None) -> tuple[str, ...]:
    words = [modality, region]
    if finding:
        kind = "gallstone" if (finding.kind, finding.organ) == ("stone", "gallbladder") else finding.kind
        words += [finding.organ, kind] if finding.organ in _CODES and finding.organ != region else [kind]
    return tuple(_CODES[word] for word in words)


def draw_phantom(seed: int | Sequence[int]) -> Phantom:
    """Draws one synthetic image from a seed (or a sequence of seeds, all >= 0): the same seed, the same phantom.

    Sides are 180 to 288 pixels, and few images are square. About a fifth (`NORMAL_SHARE`) show no finding.
    """
    rng = np.random.default_rng(np.random.SeedSequence(seed))
    scenes = list(_SCENES)
    modality, region = scenes[rng.choice(len(scenes), p=_SHARES)]
    contrast = ("T1", "T2")[rng.integers(2)] if modality == "MR" else modality
    finding = _choose_finding(rng, modality, region)
    canvas = _SCENES[modality, region](rng, finding, contrast)
    exposed = np.clip(canvas.image * rng.uniform(0.9, 1.08) + rng.normal(0, 0.012), 0, 1) ** rng.uniform(0.88, 1.15)
    image = np.round(exposed * 255).astype(np.uint8)
    caption = _caption(rng, modality, region, contrast, finding)
    mask = canvas.mask.astype(np.uint8) * 255
    return Phantom(image, mask, caption, _concepts(modality, region, finding), modality, region, finding)


# ---------------------------------------------------------------------------------------------------------- writing

_DATE = "2000-01-01T00:00:00Z"  # any constant: a workbook's dates would otherwise differ from one drawing to the next
_README = """SYNTHETIC phantoms, drawn by medcap_tf.phantoms. No image or sentence here comes from a patient,
and none is medical evidence. Each split holds images/ID.png, masks/ID.png (255 on the finding), captions.xlsx
(ID, Caption) and concepts.xlsx (ID, CUIs: UMLS codes joined by ";"). The same call draws the same bytes.

Drawn with: edition {edition}, seed {seed}, {counts}
"""


def draw_dataset(root: Path, counts: Mapping[str, int], seed: int = 0) -> None:
    """Draws a synthetic data set: `<root>/<split>/{images/ID.png, masks/ID.png, captions.xlsx, concepts.xlsx}`.

    `counts` gives the images of each split; a split of 0 is left out. The same call writes the same bytes, and no image
    is in two splits. A split appears under its name only when complete, and the same call again draws what is missing.

    Raises `InputError` for counts or a seed that cannot be drawn, and for a folder that holds anything else than
    phantoms of the same call.
    """
    root = Path(root)
    _check_call(counts, seed)
    wanted = {split: count for split, count in counts.items() if count}
    asked = ", ".join(f"{split} {count}" for split, count in sorted(wanted.items()))
    readme = _README.format(edition=_EDITION, seed=seed, counts=asked)
    missing = _missing_splits(root, wanted, readme)
    root.mkdir(parents=True, exist_ok=True)
    (root / "README.txt").write_bytes(readme.encode())
    with tqdm(total=sum(wanted[split] for split in missing), desc="phantoms", unit="image") as progress:
        for split in missing:
            partial = _partial(root, split)
            shutil.rmtree(partial, ignore_errors=True)  # what an earlier, killed run left
            try:
                _draw_split(partial, split, wanted[split], seed, progress)
                partial.rename(root / split)
            finally:
                shutil.rmtree(partial, ignore_errors=True)


def _check_call(counts: Mapping[str, int], seed: int) -> None:
    if seed < 0:
        raise InputError(f"seed: {seed} is negative; give 0 or more.")
    for split, count in counts.items():
        if not re.fullmatch(r"[A-Za-z0-9_-]+", split):
            raise InputError(f"split {split!r}: a split names a folder; use letters, digits, '-' and '_' only.")
        if count < 0:
            raise InputError(f"split {split!r}: {count} images were asked for; give 0 or more.")
    if not any(counts.values()):
        raise InputError("every split has 0 images, so there is nothing to draw; give at least one split 1 or more.")


def _partial(root: Path, split: str) -> Path:
    """Where a split is drawn until it is complete; the dot keeps it out of what looks for splits."""
    return root / f".{split}.partial"


def _missing_splits(root: Path, wanted: Mapping[str, int], readme: str) -> list[str]:
    """The splits still to be drawn, having made sure that all else in the folder came from the same call."""
    advice = "Choose another folder, or delete this one if it is no longer needed."
    if root.exists() and not root.is_dir():
        raise InputError(f"{root} is a file, not a folder. Choose another place for the phantoms.")
    present = {path.name for path in root.iterdir()} if root.exists() else set()
    if not present:
        return list(wanted)
    if "README.txt" not in present:
        raise InputError(f"{root} is not empty and holds no phantoms (found {min(present)}). {advice}")
    found = (root / "README.txt").read_text(encoding="utf-8", errors="replace")
    if found != readme:
        raise InputError(f"{root} holds something else: its README.txt ends {found[-120:].strip()!r}. {advice}")
    foreign = present - {"README.txt"} - set(wanted) - {_partial(root, split).name for split in wanted}
    if foreign:
        raise InputError(f"{root} holds more than these phantoms (found {min(foreign)}). {advice}")
    for split in present & set(wanted):
        _check_split(root / split, split, wanted[split], advice)
    return [split for split in wanted if split not in present]


def _check_split(folder: Path, split: str, count: int, advice: str) -> None:
    pictures = {f"{kind}/{_name(split, i)}.png" for kind in ("images", "masks") for i in range(count)}
    expected = pictures | {"captions.xlsx", "concepts.xlsx"}
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}
    if found != expected:
        odd = min(found ^ expected)
        raise InputError(
            f"{folder} was changed since it was drawn ({odd} is {'extra' if odd in found else 'missing'}). {advice}"
        )


def _name(split: str, index: int) -> str:
    return f"{split}{index:05d}"


def _draw_split(folder: Path, split: str, count: int, seed: int, progress: tqdm) -> None:
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
    captions, concepts = [("ID", "Caption")], [("ID", "CUIs")]
    for index in range(count):
        # The checksum of its name, not its place in the call, tells a split from the others: leaving one out, or
        # asking for more images, changes no other image.
        phantom = draw_phantom([seed, zlib.crc32(split.encode()), index])
        name = _name(split, index)
        for kind, pixels in (("images", phantom.image), ("masks", phantom.mask)):
            (folder / kind / f"{name}.png").write_bytes(cv2.imencode(".png", pixels)[1].tobytes())
        captions.append((name, phantom.caption))
        concepts.append((name, ";".join(phantom.concepts)))
        progress.update()
    (folder / "captions.xlsx").write_bytes(_workbook(captions))
    (folder / "concepts.xlsx").write_bytes(_workbook(concepts))


def _workbook(rows: Sequence[tuple[str, str]]) -> bytes:
    """An Excel workbook of one sheet whose bytes depend on `rows` alone: every date within is the same constant."""
    book = Workbook()
    sheet = book.worksheets[0]
    for row in rows:
        sheet.append(row)
    dated, dateless = io.BytesIO(), io.BytesIO()
    book.save(dated)
    with zipfile.ZipFile(dated) as source, zipfile.ZipFile(dateless, "w") as target:
        for name in source.namelist():
            content = source.read(name)
            if name == "docProps/core.xml":  # openpyxl sets the time of saving itself, whatever the properties say
                content = re.sub(rb"\d{4}-\d\d-\d\dT[\d:.]+Z?", _DATE.encode(), content)
            entry = zipfile.ZipInfo(name, date_time=(2000, 1, 1, 0, 0, 0))
            entry.create_system = 0  # not the system it was drawn on
            target.writestr(entry, content, zipfile.ZIP_DEFLATED)
    return dateless.getvalue()
