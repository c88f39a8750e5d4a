"""Self-critical training: the decoder says something of each image, and learns from what that is worth.

Axes: B images, D captions drawn of each, T tokens.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import tensorflow as tf

from medcap_tf.evaluation.metrics import CiderD, cut_caption
from medcap_tf.models.dropout import replica
from medcap_tf.text import END, PAD
from medcap_tf.training.loop import Stage
from medcap_tf.training.stages import TrainingContext, VisualInput, caption_stage, seer

DRAWS = 4


def caption_stages(context: TrainingContext, source: VisualInput) -> list[Stage]:
    """The stages that teach the decoder, in their order."""
    by_words = caption_stage(context, source)
    return [by_words, _self_critical(context, by_words)] if context.config.training.self_critical_epochs else [by_words]


def _self_critical(context: TrainingContext, by_words: Stage) -> Stage:
    """On from the caption stage: captions drawn from the decoder are rewarded by their CIDEr-D beside the image's
    reference (Rennie et al. 2017, section 3), less the mean of the other captions drawn of the same image (Luo 2020,
    section 2).

    The loss that is shown is the drawn captions' mean CIDEr-D, negative; words are the vocabulary's.
    """
    config, model, see = context.config, context.model, seer(context)
    examples = context.train.with_words()
    cider = CiderD([cut_caption(words) for words in examples.words])
    options = dataclasses.replace(config.decoding, beam_width=1, no_repeat_ngram=0)

    def rewards(rows: np.ndarray, tokens: np.ndarray) -> np.ndarray:
        """rows int [B] and tokens int32 [B D, T] -> CIDEr-D float32 [B, D]."""
        drawn = tokens.reshape(len(rows), DRAWS, -1)
        scores = [
            [cider.score(row, cut_caption(one[one != PAD].tolist())) for one in own] for row, own in zip(rows, drawn)
        ]
        return np.array(scores, np.float32).reshape(-1, DRAWS)

    def batch_loss(batch: dict[str, tf.Tensor], step: tf.Tensor) -> tf.Tensor:
        seen = see(batch["visual"], True)
        encoded = model.encode_seen(seen._replace(**{
            name: tf.repeat(value, DRAWS, axis=0) for name, value in seen._asdict().items() if value is not None
        }))  # fmt: skip
        seed = tf.stack([config.training.seed + replica() * 2**50, step])
        drawn = model.generate(encoded, options, seed=seed)
        tokens = tf.stop_gradient(drawn.tokens)
        reward = tf.ensure_shape(tf.numpy_function(rewards, [batch["rows"], tokens], tf.float32), [None, DRAWS])
        others = (tf.reduce_sum(reward, 1, keepdims=True) - reward) / (DRAWS - 1)
        # What ends a caption has been drawn too, unless the caption was cut.
        ends = tf.range(options.max_length)[None] == drawn.length[:, None]
        log_probs = tf.reduce_sum(model.score(encoded, tf.where(ends, END, tokens)).log_probs, 1)
        gain = tf.reduce_mean(tf.reshape(reward - others, [-1]) * log_probs)
        return tf.stop_gradient(gain - tf.reduce_mean(reward)) - gain

    return dataclasses.replace(
        by_words,
        name="self_critical",
        epochs=config.training.self_critical_epochs,
        learning_rate=config.training.self_critical_learning_rate,
        loss=batch_loss,
        monitor="cider",
        xla=False,  # which scores no captions
    )
