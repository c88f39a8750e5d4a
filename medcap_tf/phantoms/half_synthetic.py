"""HALF-SYNTHETIC images: a real one, into which a finding and devices were drawn, with caption, concepts and mask.

So whether a model's maps point at what words name can be measured on images of the user's own kind.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

from medcap_tf.data.images import read_image
from medcap_tf.data.splits import content_digest
from medcap_tf.errors import InputError
from medcap_tf.phantoms.backgrounds import NOTHING_ASSUMED, Assumed, Background, Backgrounds, read_backgrounds
from medcap_tf.phantoms.dataset import EDITION, Drawn, Edition, as_text, check_call, write_dataset
from medcap_tf.phantoms.embedding import LONGEST_SIDE, Overlay, Site, draw_echo, draw_finding, look_of
from medcap_tf.phantoms.findings import NORMAL_SHARE, Finding
from medcap_tf.phantoms.incidental import choose_among, draw_incidentals
from medcap_tf.phantoms.phantom import Phantom
from medcap_tf.phantoms.wording import CONCEPTS, FINDING_WORDS, concepts_of, extended_caption, plain_caption

_Fits = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
_KINDS = {  # by modality and region; elsewhere a mass or a cyst
    ("radiograph", "chest"): ("nodule", "consolidation"),
    ("radiograph", "abdomen"): ("mass", "stone"),
    ("CT", "chest"): ("nodule", "consolidation"),
    ("CT", "brain"): ("hemorrhage", "infarct", "tumor"),
    ("MR", "brain"): ("cyst", "infarct", "tumor"),
    ("ultrasound", "abdomen"): ("cyst", "mass", "stone"),
}
_DEVICES = {  # by modality, region and view: the scene whose brushes draw them, and which; elsewhere clips and a screw
    ("radiograph", "chest", "frontal"): (
        "chest film",
        ("prosthesis", "tube", "catheter", "pacemaker", "clip", "electrode"),
    ),
    ("CT", "chest", "axial"): ("chest section", ("emphysema", "prosthesis", "tube")),
    ("CT", "brain", "axial"): ("brain", ("catheter", "electrode", "clip")),
    ("MR", "brain", "axial"): ("brain", ("catheter", "electrode", "clip")),
    ("CT", "abdomen", "axial"): ("abdomen", ("stent", "tube", "screw")),
    ("MR", "abdomen", "axial"): ("abdomen", ("stent", "catheter", "screw")),
}
_IN_BODY = 0.75  # of a device, at least
_VISIBLE = 0.15  # of the range of brightness: what a device changes at least
_README = """HALF-SYNTHETIC images: real ones, into which medcap_tf.phantoms drew findings and devices.
What was drawn was never in a patient; what lies beneath, and the beginning of each caption, are those of the
background, whose owner's terms hold. Nothing here is medical evidence. Each split holds images/ID.png, masks/ID.png
(255 on a finding that was drawn), captions.xlsx (ID, Caption, Source, Drawn) and concepts.xlsx (ID, CUIs);
concept_names.csv names the codes. The same call on the same backgrounds draws the same bytes.

Drawn with: edition {edition}, seed {seed}, {counts}, backgrounds {digest}{assumed}
"""
_COLUMNS = ("Source", "Drawn")


def draw_half_synthetic_dataset(
    root: Path, folder: Path, counts: Mapping[str, int | None], seed: int = 0, assumed: Assumed = NOTHING_ASSUMED
) -> None:
    """Draws a half-synthetic data set, laid out as `draw_dataset`'s; its captions' further columns say of each image
    that it is half-synthetic, its background, and what was drawn.

    Args:
        root: where to.
        folder: the real images; see `read_backgrounds`.
        counts: the images of each split; None: one of each background. Of more than there are backgrounds, each is
            drawn on several times, with other things; a split never takes another's backgrounds.
        seed: the same call on the same backgrounds writes the same bytes.
        assumed: of images whose own words tell no modality, region or view.

    Raises:
        InputError: as `draw_dataset` and `read_backgrounds`, and for images of a split without backgrounds.
    """
    check_call({split: count or 0 for split, count in counts.items() if count is not None} or {"train": 1}, seed)
    root, folder = Path(root), Path(folder)
    if root.resolve() == folder.resolve() or folder.resolve() in root.resolve().parents:
        raise InputError(
            f"{root}: lies in the folder of backgrounds, {folder}, which would then hold it; choose another"
        )
    backgrounds = read_backgrounds(folder, assumed)
    wanted = {split: len(backgrounds.splits.get(split, ())) if n is None else n for split, n in counts.items()}
    for split, count in wanted.items():
        if count and not backgrounds.splits.get(split):
            raise InputError(f"{folder}: no images for split {split!r}; put some there, or give --{split} 0")
    readme = _README.format(
        edition=EDITION, seed=seed, counts=as_text(wanted), digest=_digest(backgrounds),
        assumed="".join(f", {name} {value}" for name, value in assumed._asdict().items() if value),
    )  # fmt: skip
    names = {**CONCEPTS, **backgrounds.concept_names}

    def draw(split: str, index: int) -> Drawn:
        own, number = backgrounds.splits[split], zlib.crc32(split.encode())
        order = np.random.default_rng([seed, number]).permutation(len(own))
        background = own[order[index % len(own)]]
        phantom = draw_half_synthetic(background, [seed, number, index])
        drawn = [phantom.finding.kind] if phantom.finding else []
        row = f"half-synthetic, drawn into {background.name}", ", ".join([*drawn, *phantom.incidentals]) or "nothing"
        return Drawn(_name(split, index), phantom, row)

    write_dataset(root, wanted, Edition(readme, draw, _name, names, _COLUMNS))


def _name(split: str, index: int) -> str:
    return f"half_{split}{index:05d}"


def _digest(backgrounds: Backgrounds) -> str:
    """What tells these backgrounds, and what is known of them, from others, wherever they lie."""
    known = [(split, *one._replace(path=Path())) for split, own in backgrounds.splits.items() for one in own]
    return content_digest(repr(known).encode())[:12]


def draw_half_synthetic(background: Background, seed: Sequence[int]) -> Phantom:
    """Draw a finding (in four of five images) and devices (each in a quarter of them) into a real image.

    An image whose own caption names a finding of the phantoms' kinds gets none drawn in: nobody could tell which of the
    two a word means. Sides are the patient's, and stated in frontal and axial views of chest, brain and abdomen alone,
    by the convention that the patient's right is on the left of the image.

    Args:
        background: the real image; it is made smaller, to LONGEST_SIDE pixels at most.
        seed: all >= 0; the same seed and background, the same image.

    Raises:
        InputError: the image cannot be read.
    """
    rng = np.random.default_rng(np.random.SeedSequence(seed))
    picture = _smaller(read_image(background.path))
    gray = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    modality, region, view = background.modality, background.region, background.view
    contrast = modality if modality != "MR" else background.contrast or ("T1", "T2")[rng.integers(2)]
    overlay = Overlay(rng, gray, speckled=modality == "ultrasound")
    finding = None
    if FINDING_WORDS.isdisjoint(re.findall(r"\w+", background.caption.lower())):
        finding = _draw_finding(overlay, background, contrast)
    scene, kinds = _devices(modality, region, view)
    devices = _draw_devices(overlay, scene, contrast, choose_among(rng, kinds))
    known = "any" if scene == "any" else region
    caption = background.caption or plain_caption(modality, region, view)
    drawn = concepts_of(modality, region, finding, devices)
    if background.concepts:
        drawn = tuple(code for code in drawn if code not in concepts_of(modality, region, None, ()))
    return Phantom(
        _with_color(picture, gray, overlay.blended()),
        overlay.mask.astype(np.uint8) * 255,
        extended_caption(rng, caption, modality if known == region else "any", known, finding, devices),
        tuple(dict.fromkeys([*background.concepts, *drawn])),
        modality,
        region,
        finding,
        devices,
    )


def _smaller(picture: np.ndarray) -> np.ndarray:
    height, width = picture.shape[:2]
    scale = min(1.0, LONGEST_SIDE / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA) if scale < 1 else picture


def _with_color(picture: np.ndarray, gray: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """What was drawn, in all channels of a colored image [H, W, 3]; [H, W] of a gray one."""
    if (picture == picture[..., :1]).all():
        return drawn
    change = drawn.astype(np.int16) - gray
    return np.clip(picture + change[..., None], 0, 255).astype(np.uint8)


def _devices(modality: str, region: str, view: str) -> tuple[str, tuple[str, ...]]:
    if modality == "ultrasound":
        return "ultrasound", ("needle",)
    return _DEVICES.get((modality, region, view), ("any", ("clip", "screw")))


def _draw_devices(c: Overlay, scene: str, contrast: str, kinds: Sequence[str]) -> tuple[str, ...]:
    """Draw them; those that would lie beside the body for the most part, or hardly show, are left out."""
    drawn = []
    for kind in kinds:
        before = c.image.copy()
        draw_incidentals(c, scene, contrast, [kind])
        change = np.abs(c.image - before)
        if change[c.body].sum() > _IN_BODY * change.sum() and change.max() > _VISIBLE:
            drawn.append(kind)
        else:
            c.image = before
    return tuple(drawn)


def _draw_finding(c: Overlay, background: Background, contrast: str) -> Finding | None:
    """Choose a finding and draw it where it fits; None for a normal image, and where it fits nowhere."""
    rng, modality, region, view = c.rng, background.modality, background.region, background.view
    kinds = _KINDS.get((modality, region), ("mass", "cyst"))
    kind, size = kinds[rng.integers(len(kinds))], ("small", "large")[rng.integers(2)]
    if rng.random() < NORMAL_SHARE:
        return None
    size = "small" if kind in ("stone", "nodule") and modality != "CT" else size
    look = look_of(modality, contrast, kind)
    organ = _organ(modality, region, view)
    site = c.site(c.radius(size), _fits(organ, view, look.core if look.rim is None else look.rim))
    if site is None:
        return None
    draw_finding(c, look, kind, site)
    if modality == "ultrasound":
        draw_echo(c, kind)
    side = ("right" if site.x < 0 else "left") if organ != "picture" else ""
    return Finding(kind, organ, side, _zone(organ, view if modality != "ultrasound" else "other", site), size, 1)


def _organ(modality: str, region: str, view: str) -> str:
    """What a place is called by: an organ that its view shows for certain, else the picture."""
    if modality == "ultrasound" or (region, view) == ("brain", "frontal") or view == "other":
        return "picture"
    if region == "chest" and modality in ("radiograph", "CT"):
        return "lung"
    return {"brain": "brain", "abdomen": "abdomen"}.get(region, "picture")


def _fits(organ: str, view: str, difference: float) -> _Fits:
    """Where a finding of this organ may lie, at a brightness that leaves it room to differ."""

    def fits(x: np.ndarray, y: np.ndarray, level: np.ndarray) -> np.ndarray:
        # Darker than most of the body: air, or the ground between its parts.
        room = (level + difference < 1.0) & (level + difference > 0.02) & (level > max(0.1, 0.5 * np.median(level)))
        if organ == "picture":
            return room
        aside = np.abs(x) > 0.15
        if organ == "brain":  # within the skull
            return room & aside & (np.hypot(x / 0.7, y / 0.72) < 1)
        if organ == "lung":
            upright = view == "frontal"
            dark = level < (np.quantile(level, 0.4) if upright else 0.3)
            fields = (np.abs(x) > 0.22) & (np.abs(x) < 0.72) & (np.abs(y) < (0.6 if upright else 0.7))
            return dark & fields & (level + difference < 1.0)
        return room & aside & (np.hypot(x, y) < 0.85)

    return fits


def _zone(organ: str, view: str, site: Site) -> str:
    if organ == "brain":
        return "frontal" if site.y < -0.25 else "parietal" if site.y < 0.3 else "occipital"
    if view == "axial":
        return "anterior" if site.y < 0 else "posterior"
    return "upper" if site.y < 0 else "lower"
