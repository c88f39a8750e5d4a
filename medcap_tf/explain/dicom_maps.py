"""Maps as DICOM objects beside the image that they explain: secondary captures to look at, a segmentation to lay over.

Both stay in the image's study and frame of reference, refer to the image, are derived and labeled as research. They
carry the patient's attributes of the image: without these no viewer would show them together.

Axes: n words, h x w regions, H x W pixels.
"""

from __future__ import annotations

import copy
import datetime
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import medcap_tf
from medcap_tf.data.formats import HEAD_BYTES, kind_of
from medcap_tf.errors import InputError
from medcap_tf.explain.explanation import Explanation
from medcap_tf.explain.figures import outlined, overlay
from medcap_tf.explain.regions import find_regions, region_mask
from medcap_tf.files import write_bytes

RESEARCH = "Research only: not for diagnosis"
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_SOURCE_IMAGE = ("121322", "DCM", "Source image for image processing operation")
_MAKER = "medcap_tf"
_KEPT = (  # of the source: whose image it is, of which study, and where it lies
    *("SpecificCharacterSet", "PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex"),
    *("PatientAge", "PatientIdentityRemoved", "DeidentificationMethod", "StudyInstanceUID", "StudyDate", "StudyTime"),
    *("StudyID", "StudyDescription", "AccessionNumber", "ReferringPhysicianName", "FrameOfReferenceUID"),
    *("PositionReferenceIndicator", "PatientOrientation", "Laterality", "ImageLaterality", "BodyPartExamined"),
)
_NEVER_ABSENT = (  # DICOM's type 2: present, if empty
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID"),
    *("AccessionNumber", "ReferringPhysicianName"),
)


def read_source(path: Path) -> Any | None:
    """The header of a DICOM image without its pixels, as pydicom's dataset; None of any other file, and of one that
    cannot be read: why not is said where its pixels are.

    Raises:
        InputError: pydicom is missing, or the header lacks the UIDs by which a derived object refers to an image.
    """
    if not _is_dicom(path):
        return None
    pydicom = _package("pydicom", "dicom")
    try:
        source = pydicom.dcmread(path, stop_before_pixels=True, force=True)
    except Exception:  # a dozen unrelated kinds on broken files
        return None
    missing = [key for key in ("StudyInstanceUID", "SOPClassUID", "SOPInstanceUID") if not source.get(key)]
    if missing:
        raise InputError(
            f"{path}: has no {missing[0]}, by which a DICOM map would refer to it; export it again from its source, or "
            "ask for --maps png"
        )
    for keyword in _NEVER_ABSENT:
        if keyword not in source:
            setattr(source, keyword, "")
    return source


def check_sources(paths: Sequence[Path]) -> None:
    """Make sure that maps of all these images can be written as DICOM, as far as headers and packages tell.

    Raises:
        InputError: as of `read_source`, and where highdicom is missing.
    """
    if any(read_source(path) is not None for path in paths if path.is_file()):
        _package("highdicom", "maps")


def _is_dicom(path: Path) -> bool:
    try:
        with open(path, "rb") as file:
            return kind_of(file.read(HEAD_BYTES)) == "DICOM" or path.suffix.lower() == ".dcm"
    except OSError:
        return False


def write_captures(
    source: Any, explanation: Explanation, kind: str, words: Sequence[int], folder: Path, name: str
) -> list[Path]:
    """A secondary capture for each of the words: its map and its regions' boxes over the image, in one new series.

    Args:
        source: of `read_source`.
        explanation: of that image.
        kind: of map, of `Explanation.word_maps`.
        words: their numbers in the caption.
        folder: where to.
        name: how the files' names begin.
    """
    uid = _package("pydicom", "dicom").uid.generate_uid
    maps, series, paths = explanation.word_maps()[kind], uid(), []
    for number, word in enumerate(words, start=1):
        grid = maps[word]
        picture = outlined(overlay(explanation.image, grid), find_regions(grid))
        dataset = _capture(source, picture)
        dataset.SeriesInstanceUID, dataset.SOPInstanceUID, dataset.InstanceNumber = series, uid(), number
        dataset.SeriesDescription = f"medcap_tf {kind} maps. {RESEARCH}"[:64]
        dataset.ImageComments = f"{kind} of the word '{explanation.caption.words[word]}'. {RESEARCH}"
        paths.append(folder / f"{name}.map.{word + 1:02d}.dcm")
        _save(dataset, paths[-1])
    return paths


def _capture(source: Any, picture: np.ndarray) -> Any:
    """A secondary capture of uint8 [H, W, 3], without what tells it from others of its series."""
    pydicom = _package("pydicom", "dicom")
    dataset = pydicom.dataset.Dataset()
    for keyword in _KEPT:
        if keyword in source:
            dataset[keyword] = copy.deepcopy(source[keyword])
    now = datetime.datetime.now()
    dataset.SOPClassUID, dataset.Modality, dataset.ConversionType = _SECONDARY_CAPTURE, "OT", "WSD"
    dataset.ImageType, dataset.SeriesNumber = ["DERIVED", "SECONDARY"], 9000
    dataset.ContentDate, dataset.ContentTime = now.strftime("%Y%m%d"), now.strftime("%H%M%S")
    dataset.Manufacturer, dataset.SoftwareVersions = _MAKER, medcap_tf.__version__
    dataset.DerivationDescription = f"Map of a word of a generated caption, over the image. {RESEARCH}"
    dataset.SourceImageSequence = [_reference(source)]
    dataset.Rows, dataset.Columns = picture.shape[:2]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PlanarConfiguration = 3, "RGB", 0
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 8, 8, 7, 0
    dataset.PixelData = picture.tobytes() + b"\0" * (picture.size % 2)
    _place(dataset, source)
    return dataset


def _reference(source: Any) -> Any:
    pydicom = _package("pydicom", "dicom")
    item, purpose = pydicom.dataset.Dataset(), pydicom.dataset.Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = source.SOPClassUID, source.SOPInstanceUID
    frames = int(source.get("NumberOfFrames") or 1)
    if frames > 1:  # the middle one is explained
        item.ReferencedFrameNumber = frames // 2 + 1
    purpose.CodeValue, purpose.CodingSchemeDesignator, purpose.CodeMeaning = _SOURCE_IMAGE
    item.PurposeOfReferenceCodeSequence = [purpose]
    return item


def _place(dataset: Any, source: Any) -> None:
    """Where the capture lies in the patient, where the source says so: its pixels may be larger than the source's."""
    for keyword in ("PixelSpacing", "ImagerPixelSpacing"):
        if source.get(keyword):
            scale = source.Rows / dataset.Rows, source.Columns / dataset.Columns
            setattr(dataset, keyword, [f"{float(own) * by:.10g}" for own, by in zip(source[keyword].value, scale)])
    if not all(source.get(key) for key in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")):
        return
    # The position is that of the middle of the first pixel, which a larger pixel has further inside.
    turn = np.array(source.ImageOrientationPatient, float)
    (old_down, old_along), (down, along) = (
        [float(value) for value in spacing] for spacing in (source.PixelSpacing, dataset.PixelSpacing)
    )
    moved = turn[:3] * (along - old_along) / 2 + turn[3:] * (down - old_down) / 2
    position = np.array(source.ImagePositionPatient, float) + moved
    dataset.ImageOrientationPatient = list(source.ImageOrientationPatient)
    dataset.ImagePositionPatient = [f"{value:.10g}" for value in position]


def write_segmentation(
    source: Any, explanation: Explanation, kind: str, words: Sequence[int], path: Path
) -> list[Path]:
    """A segmentation with a segment for each of the words whose map has a region, at the source's own pixels.

    Nothing is written where no word has a region, and of an image of several frames.

    Args:
        source: of `read_source`.
        explanation: of that image.
        kind: of map, of `Explanation.word_maps`.
        words: their numbers in the caption.
        path: the file.

    Raises:
        InputError: highdicom is missing.
    """
    highdicom = _package("highdicom", "maps")
    uid = _package("pydicom", "dicom").uid.generate_uid
    maps = explanation.word_maps()[kind]
    shape = int(source.Rows), int(source.Columns)
    masks = {word: region_mask(maps[word], shape) for word in words}
    masks = {word: mask for word, mask in masks.items() if mask.any()}
    if not masks or int(source.get("NumberOfFrames") or 1) > 1:
        return []
    labels = [f"{explanation.caption.words[word]} ({kind}, word {word + 1})"[:64] for word in masks]
    dataset = highdicom.seg.Segmentation(
        source_images=[source], pixel_array=np.stack(list(masks.values()), -1)[None].astype(np.uint8),
        segmentation_type="BINARY", segment_descriptions=[_segment(i, text) for i, text in enumerate(labels, start=1)],
        series_instance_uid=uid(), series_number=9001, sop_instance_uid=uid(), instance_number=1, manufacturer=_MAKER,
        manufacturer_model_name=_MAKER, software_versions=medcap_tf.__version__, device_serial_number="0",
        content_label="RESEARCH", content_description=f"Regions of words' maps. {RESEARCH}",
        series_description=f"medcap_tf {kind} regions. {RESEARCH}"[:64],
    )  # fmt: skip
    _save(dataset, path)
    return [path]


def _segment(number: int, label: str) -> Any:
    highdicom = _package("highdicom", "maps")
    code = highdicom.sr.CodedConcept
    region = code("309825002", "SCT", "Spatial and Relational Concept"), code("111030", "DCM", "Image Region")
    return highdicom.seg.SegmentDescription(
        number, label, *region, "AUTOMATIC",
        highdicom.AlgorithmIdentificationSequence(
            _MAKER, code("123109", "DCM", "Artificial Intelligence"), medcap_tf.__version__
        ),
    )  # fmt: skip


def _save(dataset: Any, path: Path) -> None:
    """Write a dataset atomically, in explicit little endian."""
    pydicom = _package("pydicom", "dicom")
    meta = getattr(dataset, "file_meta", None) or pydicom.dataset.FileMetaDataset()
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = dataset.SOPClassUID, dataset.SOPInstanceUID
    dataset.file_meta = meta
    buffer = pydicom.filebase.DicomBytesIO()
    pydicom.dcmwrite(buffer, dataset, enforce_file_format=True)
    write_bytes(path, buffer.getvalue())


def _package(name: str, extra: str) -> Any:
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError:
        raise InputError(f"--maps dicom needs the package {name}; run: pip install 'medcap_tf[{extra}]'") from None
