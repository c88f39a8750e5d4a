"""Captions and concepts: what a radiologist would dictate about a phantom, and its UMLS codes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from medcap_tf.phantoms.findings import Finding

# Those tables code no "left", "right" or "normal" and no lung nodule, hence no code for a side, and "Lesion" for a
# nodule; they mark MR images with "Resonance". From "Catheters" on: the code that their captions carry where they name
# the thing.
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
    "C0085590": "Catheters",
    "C0030163": "Pacemaker, Artificial",
    "C0038257": "Stents",
    "C0027551": "Needles",
    "C0006663": "Calcinosis",
    "C0020255": "Hydrocephalus",
    "C0003962": "Ascites",
    "C0175730": "biomedical tube device",
    "C0021102": "Implants",
    "C0013812": "Electrodes",
    "C0038002": "Splenomegaly",
    "C0175649": "Prosthesis",
    "C0175722": "Clip",
    "C0013990": "Emphysema",
    "C0018944": "Hematoma",
    "C0333641": "Atrophic",
    "C0301559": "Screw",
    "C0497156": "Lymphadenopathy",
}

_CODES = {
    **{"radiograph": "C1306645", "CT": "C0040405", "MR": "C0231881", "ultrasound": "C0041618"},
    **{"chest": "C0817096", "brain": "C0006104", "abdomen": "C0000726"},
    **{"lung": "C0024109", "liver": "C0023884", "kidney": "C0022646", "gallbladder": "C0016976"},
    **{"nodule": "C0221198", "effusion": "C0013687", "pneumothorax": "C0032326", "consolidation": "C0521530"},
    **{"hemorrhage": "C0019080", "infarct": "C0021308", "tumor": "C0027651"},
    **{"cyst": "C0010709", "mass": "C0577559", "stone": "C0006736", "gallstone": "C0008350"},
    **{"catheter": "C0085590", "pacemaker": "C0030163", "stent": "C0038257", "needle": "C0027551"},
    **{"calcification": "C0006663", "hydrocephalus": "C0020255", "ascites": "C0003962"},
    **{"tube": "C0175730", "implant": "C0021102", "electrode": "C0013812", "splenomegaly": "C0038002"},
    **{"prosthesis": "C0175649", "clip": "C0175722", "emphysema": "C0013990", "hematoma": "C0018944"},
    **{"atrophy": "C0333641", "screw": "C0301559", "lymphadenopathy": "C0497156"},
}

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
    # In real images, whose organs nobody has outlined:
    "abdomen": ("in the {side} {zone} abdomen", "in the {zone} abdomen on the {side}"),
    "picture": ("in the {zone} part of the image", "in the {zone} part"),
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
_INCIDENTALS = {  # by modality where it matters, else by region
    ("chest", "catheter"): ("a central venous catheter", "a central catheter", "a venous catheter"),
    ("brain", "catheter"): ("a ventricular catheter", "a catheter in the ventricle"),
    ("abdomen", "catheter"): ("a drainage catheter", "a pigtail catheter"),
    ("radiograph", "tube"): ("a nasogastric tube", "a gastric tube"),
    ("chest", "tube"): ("a chest tube", "a thoracic drainage tube"),
    ("abdomen", "tube"): ("a nasogastric tube", "a gastric tube"),
    ("chest", "pacemaker"): ("a pacemaker", "a cardiac pacemaker"),
    ("chest", "electrode"): ("ECG electrodes", "electrocardiogram electrodes"),
    ("brain", "electrode"): ("deep brain electrodes", "bilateral deep brain electrodes"),
    ("abdomen", "electrode"): ("an ablation electrode", "a radiofrequency electrode"),
    ("chest", "prosthesis"): ("a heart valve prosthesis", "a valve prosthesis", "a prosthesis of a heart valve"),
    ("chest", "clip"): ("axillary clips", "surgical clips in the axilla", "surgical clips"),
    ("brain", "clip"): ("an aneurysm clip", "a clip on an aneurysm"),
    ("chest", "implant"): ("breast implants", "bilateral breast implants"),
    ("chest", "emphysema"): ("subcutaneous emphysema", "soft tissue emphysema"),
    ("chest", "calcification"): ("vascular calcifications", "vascular calcification", "arterial calcifications"),
    ("brain", "calcification"): (
        "calcifications of the choroid plexus",
        "calcification of the choroid plexus",
        "choroid plexus calcifications",
    ),
    ("ultrasound", "calcification"): ("coarse calcifications", "calcifications", "grouped calcifications"),
    ("abdomen", "calcification"): ("aortic calcification", "calcification of the aorta", "aortic calcifications"),
    ("brain", "hydrocephalus"): ("hydrocephalus",),
    ("brain", "atrophy"): ("cortical atrophy", "cerebral atrophy"),
    ("brain", "hematoma"): ("a scalp hematoma", "a hematoma of the scalp"),
    ("abdomen", "splenomegaly"): ("splenomegaly",),
    ("abdomen", "ascites"): ("ascites",),
    ("abdomen", "stent"): ("a biliary stent", "a stent in the bile duct"),
    ("abdomen", "screw"): ("pedicle screws", "spinal screws"),
    ("abdomen", "lymphadenopathy"): ("lymphadenopathy", "abdominal lymphadenopathy"),
    ("abdomen", "needle"): ("a needle", "a biopsy needle"),
    ("ultrasound", "needle"): ("a needle", "a biopsy needle"),
    ("any", "clip"): ("surgical clips", "metal clips"),
    ("any", "screw"): ("a screw", "an orthopedic screw"),
}
_PLURALS = ("calcifications", "clips", "electrodes", "implants", "screws")
_BESIDE = (
    "{so_far}, with {things}",
    "{so_far}. There {first_is} {things}",
    "{so_far}. {capital} {they_are} seen",
    "{so_far}. {capital} {they_are} also noted",
)
_ALONE = (
    "{so_far} with {things}, without other abnormality",
    "{so_far} showing {things}, otherwise normal",
    "Otherwise normal {lowered} with {things}",
)


def _pick(rng: np.random.Generator, wordings: Sequence[str]) -> str:
    """One of the wordings; the first is the commonest, as habits of dictation are."""
    odds = 0.5 ** np.arange(len(wordings))
    return wordings[int(rng.choice(len(wordings), p=odds / odds.sum()))]


def caption_of(
    rng: np.random.Generator,
    modality: str,
    region: str,
    contrast: str,
    finding: Finding | None,
    incidentals: Sequence[str],
) -> str:
    """One sentence or two: what was taken, what it shows, where, and what lies beside it."""
    opening = _pick(rng, _OPENINGS[modality]).format(region, contrast)
    lowered = opening if opening[1] in "T12" else opening[0].lower() + opening[1:]
    sentence = opening
    if finding:
        sentence += _pick(rng, _LINKS) + _finding_words(rng, modality, finding)
    elif not incidentals:
        sentence = _pick(rng, _NORMAL).format(opening, lowered)
    if incidentals:
        frame = _pick(rng, _BESIDE if finding else _ALONE)
        names = [_pick(rng, _incidental_names(modality, region, kind)) for kind in incidentals]
        sentence = frame.format(so_far=sentence, lowered=lowered, **_incidental_words(names))
    return sentence + ("" if rng.random() < 0.1 else ".")


def extended_caption(
    rng: np.random.Generator,
    caption: str,
    modality: str,
    region: str,
    finding: Finding | None,
    incidentals: Sequence[str],
) -> str:
    """A real image's caption, and what was drawn into it; `caption` itself where nothing was."""
    names = [_pick(rng, _incidental_names(modality, region, kind)) for kind in incidentals]
    if finding:
        names.insert(0, _finding_words(rng, "", finding))
    if not names:
        return caption
    return _pick(rng, _BESIDE).format(so_far=caption.strip().rstrip("."), **_incidental_words(names)) + "."


def plain_caption(modality: str, region: str, view: str) -> str:
    """What is known of an image without a caption: "Frontal radiograph of the chest"."""
    name = {"MR": "MRI"}.get(modality, modality)
    words = [view if view in ("frontal", "axial") else "", name, f"of the {region}" if region in _CODES else ""]
    text = " ".join(filter(None, words))
    return text[0].upper() + text[1:]


def _incidental_names(modality: str, region: str, kind: str) -> Sequence[str]:
    keys = (modality, kind), (region, kind), ("any", kind)
    return next(_INCIDENTALS[key] for key in keys if key in _INCIDENTALS)


def _incidental_words(names: Sequence[str]) -> dict[str, str]:
    """The fields of `_BESIDE` and `_ALONE` that speak of what lies beside a finding."""
    things = " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
    # "there is" agrees with the noun next to it
    first_is = "are" if set(_PLURALS) & set(names[0].split()) or names[0].startswith("two ") else "is"
    they_are = "are" if len(names) > 1 else first_is
    return {"things": things, "capital": things[0].upper() + things[1:], "first_is": first_is, "they_are": they_are}


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


def concepts_of(modality: str, region: str, finding: Finding | None, incidentals: Sequence[str]) -> tuple[str, ...]:
    """The UMLS codes, modality first: keys of `CONCEPTS`."""
    words = [word for word in (modality, region) if word in _CODES]
    if finding:
        kind = "gallstone" if (finding.kind, finding.organ) == ("stone", "gallbladder") else finding.kind
        words += [finding.organ, kind] if finding.organ in _CODES and finding.organ != region else [kind]
    return tuple(_CODES[word] for word in (*words, *incidentals))


# What the words of a caption point at, for holding explanations against masks. A word that also names a whole part of
# the body (lung, brain) is the place of a finding in these captions.
FINDING_WORDS = frozenset(
    "nodule nodules effusion effusions pneumothorax consolidation hemorrhage infarct tumor cyst cysts mass stone "
    "stones calculus calculi".split()
)
PLACE_WORDS = frozenset(
    "upper lower anterior posterior left right zone lung liver hemithorax frontal parietal occipital lobe hepatic "
    "kidney pole gallbladder lumen".split()
)
