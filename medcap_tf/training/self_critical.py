"""Self-critical training: captions drawn from the decoder, each as likely to be drawn again as its CIDEr-D is high.

Axes: B images, D captions drawn of each, T tokens.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import tensorflow as tf

from medcap_tf.decoding import penalty_of
from medcap_tf.evaluation.metrics import CiderD, cut_caption
from medcap_tf.models.captioning import shift_right
from medcap_tf.models.dropout import replica_seed
from medcap_tf.text import END, NEVER_GENERATED, PAD
from medcap_tf.training.loop import Stage
from medcap_tf.training.stages import TrainingContext, VisualInput, caption_stage, data_of, seer

SAMPLES = 4  # captions drawn of an image


def caption_stages(context: TrainingContext, source: VisualInput) -> list[Stage]:
    """The stages that teach the decoder, in their order."""
    by_words = caption_stage(context, source)
    rewarded = [_self_critical(context, source, by_words)] if context.config.training.self_critical_epochs else []
    return [by_words, *rewarded]


def _self_critical(context: TrainingContext, source: VisualInput, by_words: Stage) -> Stage:
    """On from the caption stage: captions drawn from the decoder are rewarded by their CIDEr-D beside the image's
    reference (Rennie et al. 2017, section 3), less the mean of the other captions drawn of the same image (Luo 2020,
    section 2).

    `<end>` is a word of captions and references here: else the best thing to do with a doubtful ending is to leave it
    out (Rennie et al. 2017, appendix E). The loss that is shown is the drawn captions' mean CIDEr-D, negative; words
    are the vocabulary's.
    """
    config, model, see = context.config, context.model, seer(context)
    examples = context.train.with_words()
    cider = CiderD([cut_caption([*words, END]) for words in examples.words])
    options = dataclasses.replace(config.decoding, beam_width=1, no_repeat_ngram=0)

    def rewards(rows: np.ndarray, tokens: np.ndarray) -> np.ndarray:
        """rows int [B] and tokens int32 [B D, T], each caption's `<end>` with it -> CIDEr-D float32 [B, D]."""
        samples = tokens.reshape(len(rows), SAMPLES, -1)
        scores = [
            [cider.score(row, cut_caption(sample[sample != PAD].tolist())) for sample in own]
            for row, own in zip(rows, samples)
        ]
        return np.array(scores, np.float32).reshape(-1, SAMPLES)

    def batch_loss(batch: dict[str, tf.Tensor], step: tf.Tensor) -> tf.Tensor:
        seen = see(batch["visual"], True)
        seen = seen._replace(**{
            name: tf.repeat(value, SAMPLES, axis=0) for name, value in seen._asdict().items() if value is not None
        })  # fmt: skip
        seed = tf.stack([config.training.seed + replica_seed(), step])
        drawn = model.generate(model.encode_seen(seen), options, seed=seed)
        # What ends a caption has been drawn too, unless the caption was cut.
        ends = tf.range(options.max_length)[None] == drawn.length[:, None]
        tokens = tf.stop_gradient(tf.where(ends, END, drawn.tokens))
        tokens = tokens[:, : tf.reduce_max(tf.math.count_nonzero(tokens, 1, dtype=tf.int32))]
        reward = tf.ensure_shape(tf.numpy_function(rewards, [batch["rows"], tokens], tf.float32), [None, SAMPLES])
        others = (tf.reduce_sum(reward, 1, keepdims=True) - reward) / (SAMPLES - 1)
        # By the distribution that they were drawn from.
        logits = model.teacher_forced(seen, shift_right(tokens))["logits"]
        nats = tf.nn.sparse_softmax_cross_entropy_with_logits(
            tokens, logits + penalty_of(NEVER_GENERATED, logits.shape[-1])
        )
        log_probs = -tf.reduce_sum(tf.where(tokens == PAD, 0.0, nats), 1)
        gain = tf.reduce_mean(tf.reshape(reward - others, [-1]) * log_probs)
        return tf.stop_gradient(gain - tf.reduce_mean(reward)) - gain

    return dataclasses.replace(
        by_words,
        name="self_critical",
        epochs=config.training.self_critical_epochs,
        learning_rate=config.training.self_critical_learning_rate,
        loss=batch_loss,
        monitor="cider",
        begins_trained=True,
        epoch_start=lambda epoch: None,
        epoch_end=[],
        **data_of(examples, context, 4, source),  # by no XLA, which scores no captions
    )
