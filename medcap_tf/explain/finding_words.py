"""Which words of a caption name what was found, rather than what was taken or where."""

from __future__ import annotations

from medcap_tf.explain.explanation import Explanation
from medcap_tf.phantoms import FINDING_WORDS, PLACE_WORDS
from medcap_tf.text import Normalizer

# Modalities, planes and regions are concepts too, and belong to the whole image.
_SETTING = (
    "radiograph radiography x-ray xray plain film ct computed tomography scan mri mr magnetic resonance imaging image "
    "ultrasound ultrasonography sonogram sonography doppler angiography fluoroscopy mammography axial sagittal coronal "
    "frontal lateral oblique view contrast noncontrast weighted t1 t2 flair chest thorax brain head skull abdomen "
    "pelvis spine neck breast heart mediastinum pleura musculoskeletal system body structure contents and of the"
)


def finding_words(explanation: Explanation) -> list[bool]:
    """For each word of the caption, whether a concept of the image is named by it, in any form with the same stem, and
    is a finding; without concepts' names, whether phantoms have such findings."""
    read = explanation.reading.concepts if explanation.reading else ()
    known = explanation.caption.concept_names
    names = [known.get(code, "") for code, _ in (*explanation.caption.concepts, *read)]
    normalizer = Normalizer()
    wanted = set(normalizer.stems(" ".join([*names, *sorted(FINDING_WORDS)])))
    wanted -= set(normalizer.stems(" ".join([_SETTING, *sorted(PLACE_WORDS)])))
    return [not wanted.isdisjoint(normalizer.stems(word)) for word in explanation.caption.words]
