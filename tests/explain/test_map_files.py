"""Maps as files, read back: PNG and NumPy hold the arrays, DICOM objects lie over the image that they refer to."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from medcap_tf.data.images import read_image
from medcap_tf.errors import InputError
from medcap_tf.explain.dicom_maps import check_sources
from medcap_tf.explain.explanation import Explanation
from medcap_tf.explain.grid import over_image
from medcap_tf.explain.map_files import write_maps
from medcap_tf.explain.pictures import file_name
from tests.data.test_dicom import dicom
from tests.explain.test_report import explanation_of, peak

UID = "1.2.826.0.1.3680043.8.498."
OF_A_SECTION = {
    "SOPClassUID": "1.2.840.10008.5.1.4.1.1.2", "SOPInstanceUID": f"{UID}1", "StudyInstanceUID": f"{UID}2",
    "SeriesInstanceUID": f"{UID}3", "FrameOfReferenceUID": f"{UID}4", "Modality": "CT", "PatientID": "phantom-7",
    "PatientName": "Phantom^Seven", "PixelSpacing": [0.5, 0.25], "SliceThickness": 2,
    "ImageOrientationPatient": [1, 0, 0, 0, 1, 0], "ImagePositionPatient": [-10, -20, 30],
}  # fmt: skip


def explained(path: Path, **others) -> Explanation:
    """Words brain, masses and left, whose maps are peaks in the upper right and beside the middle."""
    explanation = explanation_of(image=read_image(path), **others)
    return dataclasses.replace(explanation, caption=dataclasses.replace(explanation.caption, path=path))


@pytest.fixture
def section(tmp_path: Path) -> Path:
    path = tmp_path / "in" / "section.dcm"
    path.parent.mkdir()
    pixels = np.random.default_rng(0).integers(0, 200, (64, 96), np.uint8)
    path.write_bytes(dicom(pixels, **OF_A_SECTION))
    return path


def test_png_and_numpy(tmp_path: Path) -> None:
    image = tmp_path / "a.png"
    cv2.imwrite(str(image), np.full((60, 90), 7, np.uint8))
    explanation = explained(image)
    *pngs, array = write_maps(explanation, tmp_path / "out", ("png", "npy"))
    np.testing.assert_array_equal(np.load(array), explanation.attention)
    assert [path.name.split(".map.")[1] for path in pngs] == ["01-brain.png", "02-masses.png", "03-left.png"]
    read = cv2.imread(str(pngs[1]), cv2.IMREAD_UNCHANGED)
    heat = over_image(peak(1, 2), (60, 90))
    top = max(over_image(grid, (60, 90)).max() for grid in explanation.attention)
    np.testing.assert_allclose(read, 255 * heat / top, atol=1)


def test_evidence_comes_first_where_there_is_some(tmp_path: Path) -> None:
    class WithEvidence(Explanation):
        evidence = np.zeros((3, 4, 4), np.float32)

    image = tmp_path / "a.png"
    cv2.imwrite(str(image), np.full((60, 90), 7, np.uint8))
    old = explained(image)
    own = WithEvidence(**{field.name: getattr(old, field.name) for field in dataclasses.fields(Explanation)})
    if "evidence" in {field.name for field in dataclasses.fields(Explanation)}:
        own = dataclasses.replace(old, evidence=np.zeros((3, 4, 4), np.float32))  # type: ignore[call-arg]
    (array,) = write_maps(own, tmp_path, ("npy",))
    assert not np.load(array).any()


def test_a_file_that_is_no_dicom_has_no_dicom_maps(tmp_path: Path) -> None:
    image = tmp_path / "a.png"
    cv2.imwrite(str(image), np.full((60, 90), 7, np.uint8))
    assert write_maps(explained(image), tmp_path, ("dicom",)) == []


def test_captures_are_derived_from_the_image_and_lie_where_it_lies(section: Path, tmp_path: Path) -> None:
    pydicom = pytest.importorskip("pydicom")
    pytest.importorskip("highdicom")
    path, _ = write_maps(explained(section), tmp_path, ("dicom",))
    read = pydicom.dcmread(path)
    assert read.SOPClassUID.name == "Secondary Capture Image Storage"
    assert read.StudyInstanceUID == f"{UID}2" and read.FrameOfReferenceUID == f"{UID}4"
    assert read.SeriesInstanceUID != f"{UID}3" and read.SOPInstanceUID != f"{UID}1"
    (reference,) = read.SourceImageSequence
    assert reference.ReferencedSOPInstanceUID == f"{UID}1"
    assert reference.ReferencedSOPClassUID == OF_A_SECTION["SOPClassUID"]
    assert list(read.ImageType) == ["DERIVED", "SECONDARY"] and read.PatientID == "phantom-7"
    assert "Research only" in read.SeriesDescription and "'masses'" in read.ImageComments
    assert read.pixel_array.shape == (64, 96, 3)
    assert [float(x) for x in read.ImagePositionPatient] == [-10, -20, 30]
    assert [float(x) for x in read.PixelSpacing] == [0.5, 0.25]


def test_a_smaller_capture_has_larger_pixels_at_the_same_place(section: Path, tmp_path: Path) -> None:
    pydicom = pytest.importorskip("pydicom")
    pytest.importorskip("highdicom")
    halved = dataclasses.replace(explained(section), image=np.zeros((32, 48, 3), np.uint8))
    read = pydicom.dcmread(write_maps(halved, tmp_path, ("dicom",))[0])
    assert [float(x) for x in read.PixelSpacing] == [1.0, 0.5]
    # The middle of a pixel of 0.5 x 1 mm lies 0.125 and 0.25 mm further inside than that of one of half its size.
    assert [float(x) for x in read.ImagePositionPatient] == [-9.875, -19.75, 30]


def test_a_segmentation_lies_over_the_pixels_of_the_image(section: Path, tmp_path: Path) -> None:
    pydicom = pytest.importorskip("pydicom")
    pytest.importorskip("highdicom")
    *_, path = write_maps(explained(section), tmp_path, ("dicom",))
    assert path.name.endswith(".map.seg.dcm")
    read = pydicom.dcmread(path)
    assert read.SOPClassUID.name == "Segmentation Storage" and read.SegmentationType == "BINARY"
    assert (read.Rows, read.Columns) == (64, 96)
    assert read.StudyInstanceUID == f"{UID}2" and read.FrameOfReferenceUID == f"{UID}4"
    assert [item.SegmentLabel for item in read.SegmentSequence] == ["masses (attention, word 2)"]
    assert read.SegmentSequence[0].SegmentAlgorithmType == "AUTOMATIC"
    (image,) = read.ReferencedSeriesSequence[0].ReferencedInstanceSequence
    assert image.ReferencedSOPInstanceUID == f"{UID}1"
    (frame,) = read.PerFrameFunctionalGroupsSequence
    assert [float(x) for x in frame.PlanePositionSequence[0].ImagePositionPatient] == [-10, -20, 30]
    mask = read.pixel_array > 0
    rows, columns = np.nonzero(mask)
    # All weight is in row 1, column 2 of 4 x 4 regions.
    np.testing.assert_allclose([rows.mean(), columns.mean()], [15.5, 47.5], atol=1)
    assert mask[16, 48] and not mask[32:].any()
    assert "RESEARCH" in read.ContentLabel and "Research only" in read.ContentDescription


def test_a_film_without_a_frame_of_reference_has_both_too(tmp_path: Path) -> None:
    pydicom = pytest.importorskip("pydicom")
    pytest.importorskip("highdicom")
    path = tmp_path / "film.dcm"
    known = {key: OF_A_SECTION[key] for key in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")}
    pixels = np.random.default_rng(0).integers(0, 4000, (64, 96), np.uint16)
    path.write_bytes(dicom(pixels, SOPClassUID="1.2.840.10008.5.1.4.1.1.1", Modality="CR", **known))
    capture, segmentation = write_maps(explained(path), tmp_path / "out", ("dicom",))
    assert "FrameOfReferenceUID" not in pydicom.dcmread(capture)
    assert pydicom.dcmread(segmentation).pixel_array.shape[-2:] == (64, 96)


def test_a_header_without_uids_is_named(tmp_path: Path) -> None:
    pytest.importorskip("pydicom")
    path = tmp_path / "bare.dcm"
    path.write_bytes(dicom(np.zeros((64, 96), np.uint8) + np.arange(96, dtype=np.uint8)))
    with pytest.raises(InputError, match="bare.dcm: has no StudyInstanceUID.*--maps png"):
        write_maps(explained(path), tmp_path, ("dicom",))
    with pytest.raises(InputError, match="has no StudyInstanceUID"):
        check_sources([tmp_path / "gone.png", path])


@pytest.mark.parametrize("odd", [{"PixelSpacing": [0.5]}, {"SliceThickness": None}, {"FrameOfReferenceUID": None}])
def test_a_header_of_which_no_map_can_be_derived_is_named(odd: dict, section: Path, tmp_path: Path) -> None:
    pytest.importorskip("pydicom")
    pytest.importorskip("highdicom")
    header = {key: value for key, value in {**OF_A_SECTION, **odd}.items() if value is not None}
    section.write_bytes(dicom(np.full((64, 96), 7, np.uint8), **header))
    with pytest.raises(InputError, match=r"section\.dcm: not all of its DICOM maps.*--maps png"):
        write_maps(explained(section), tmp_path / "out", ("dicom",))


def test_names_that_are_too_long_or_not_utf_8_name_files(tmp_path: Path) -> None:
    names = {file_name(tmp_path / f"{stem}.png") for stem in ("a" * 235, "a" * 236, os.fsdecode(b"x\xff"))}
    assert len(names) == 3 and all(len(name.encode()) < 200 for name in names)
