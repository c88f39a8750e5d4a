"""Running out of memory is told with what to lower."""

from __future__ import annotations

import pytest
import tensorflow as tf

from medcap_tf.errors import InputError
from medcap_tf.memory import free_megabytes, naming_settings, peak_megabytes, reset_peak

SETTINGS = ["training.batch_size=64", "visual.image_size=224"]


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("Unable to allocate 8.00 GiB"),
        tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor with shape[64,512] and type float"),
        tf.errors.InternalError(None, None, "CUBLAS_STATUS_ALLOC_FAILED"),
    ],
)
def test_the_settings_to_lower_are_named(error):
    with pytest.raises(InputError) as told, naming_settings("stage caption", SETTINGS):
        raise error
    assert str(told.value).startswith("stage caption: out of memory")
    assert "lower training.batch_size=64, or visual.image_size=224." in str(told.value)
    assert ("of shape [64,512]" in str(told.value)) == ("shape" in str(error))


@pytest.mark.parametrize("error", [ValueError("shape"), InputError("no memory of it"), KeyboardInterrupt()])
def test_other_errors_pass(error):
    with pytest.raises(type(error)) as told, naming_settings("stage caption", SETTINGS):
        raise error
    assert told.value is error


def test_a_peak_is_that_of_what_was_done_since():
    reset_peak()
    before = peak_megabytes()
    block = bytearray(b"\1" * 64 * 2**20)
    assert 60 < peak_megabytes() - before < 200 and len(block) > 0
    assert free_megabytes() > 10
