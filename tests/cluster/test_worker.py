"""What a worker sets before it loads a model."""

from __future__ import annotations

from tests.conftest import run_command

_CODE = """
import os
from medcap_tf.cluster.engine import Resources
from medcap_tf.cluster.worker import prepare_process
prepare_process(Resources(cpus_per_worker={threads}))
import tensorflow as tf
before = len(os.listdir("/proc/self/task"))
tf.linalg.matmul(tf.ones([64, 64]), tf.ones([64, 64]))
print(len(os.listdir("/proc/self/task")) - before, tf.config.list_physical_devices("GPU"))
"""


def test_tensorflow_takes_as_many_threads_as_a_worker_has_processors():
    few, many = (run_command("-c", _CODE.format(threads=threads)).stdout.split() for threads in (1, 4))
    assert int(many[0]) - int(few[0]) == 2 * 3  # within an operation, and between operations
    assert few[1] == many[1] == "[]"
