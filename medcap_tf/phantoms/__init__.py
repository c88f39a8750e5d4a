"""The embedded data set: SYNTHETIC radiology-like images, drawn from a seed, with captions, concepts and finding masks.

Nothing here was taken from a patient, and nothing here may be read as medical evidence. The phantoms exist so that
training, evaluation and explanation can be tried, and held against a known truth, where no medical data may travel.
They look like what they are named after (radiograph, CT, MR, ultrasound; chest, brain, abdomen), state only what is
drawn, and follow the radiological convention: the patient's right is on the left of the image. An ultrasound shows
one organ from close by, so there the side of a kidney is told by its neighbor (liver: right, spleen: left) instead.

An image shows a finding or none and, chosen apart from it, up to four things more, such as devices, fluid or chalk.
The mask is the finding's alone.

In the order of the pipeline: `findings` and `incidental` choose what to show; `chest`, `brain`, `abdomen` and
`ultrasound` draw it, with what `canvas`, `tomography`, `incidental` and the three `beside_...` hold; `wording` states
it; `phantom` joins the three; `dataset` writes files.

HALF-SYNTHETIC images are real ones of the user's with findings and devices drawn in: `backgrounds` finds the images,
`embedding` draws into them, `half_synthetic` joins both; it is not imported here, since it reads data sets.

Axes, in every file here: H, W = height and width of an image in pixels; N = points of an outline.
Body coordinates: x and y run from -1 (image left, top) to 1 (image right, bottom) over the part that is shown.
"""

from medcap_tf.phantoms.dataset import draw_dataset
from medcap_tf.phantoms.findings import NORMAL_SHARE, Finding
from medcap_tf.phantoms.incidental import INCIDENTAL_SHARE
from medcap_tf.phantoms.phantom import Phantom, draw_phantom
from medcap_tf.phantoms.wording import CONCEPTS, FINDING_WORDS, PLACE_WORDS

__all__ = [
    "CONCEPTS",
    "FINDING_WORDS",
    "INCIDENTAL_SHARE",
    "NORMAL_SHARE",
    "PLACE_WORDS",
    "Finding",
    "Phantom",
    "draw_dataset",
    "draw_phantom",
]
