"""What the process imports that commands are forked from: most of what they import themselves."""

import medcap_tf.cli.main
import medcap_tf.evaluation.evaluate
import medcap_tf.explain.explainer
import medcap_tf.explain.report
import medcap_tf.serving.export
import medcap_tf.training.run  # noqa: F401
from medcap_tf.training.losses import addons

addons()
