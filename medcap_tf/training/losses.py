"""What the stages minimize, and the scheduled sampling of the decoder's inputs; the losses are tensorflow-addons'.

Axes: B examples, T steps, V vocabulary, K concepts.
"""

from __future__ import annotations

import functools
import warnings
from types import ModuleType
from typing import Any, Callable

import tensorflow as tf

from medcap_tf.decoding import gumbel
from medcap_tf.models.dropout import replica_seed


def addons() -> ModuleType:
    """tensorflow-addons, without the end-of-life notice that it prints at import."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import tensorflow_addons
    return tensorflow_addons


def concept_loss(kind: str) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """(truth float32 [B, K], logits float32 [B, K]) -> float32 [], summed over concepts, mean over examples.

    `focal` (Lin et al. 2017, equation 4, gamma 2) leaves the weight to concepts that are still wrong, which the many
    absent ones of a long tail are not; `cross_entropy` weighs all the same.
    """
    if kind == "cross_entropy":
        return lambda truth, logits: tf.reduce_mean(
            tf.reduce_sum(tf.nn.sigmoid_cross_entropy_with_logits(truth, logits), -1)
        )
    # alpha 0 switches class weighting off: the threshold is chosen on validation anyway.
    focal = addons().losses.SigmoidFocalCrossEntropy(from_logits=True, alpha=0.0, gamma=2.0)
    return lambda truth, logits: tf.reduce_mean(focal(truth, logits))


def caption_loss(label_smoothing: float) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """(targets int32 [B, T] padded with 0, logits float32 [B, T, V]) -> float32 [], mean nats a token, padding out."""
    sequence_loss = addons().seq2seq.sequence_loss
    smoothed = functools.partial(smoothed_cross_entropy, smoothing=label_smoothing)

    def loss(targets: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
        weights = tf.cast(targets != 0, tf.float32)
        return sequence_loss(logits, targets, weights, softmax_loss_function=smoothed if label_smoothing else None)

    return loss


def smoothed_cross_entropy(labels: tf.Tensor, logits: tf.Tensor, smoothing: float) -> tf.Tensor:
    """Cross-entropy against 1 - smoothing on the label and smoothing spread over all (Szegedy et al. 2016, section 7).

    In closed form, log sum exp(x) - (1 - s) x_label - s mean(x), and its gradient softmax(x) - (1 - s) [label] - s / V:
    targets and their copies would be as large as the logits, which are most of a step's memory.

    Args:
        labels: int32 [N].
        logits: float32 [N, V].
        smoothing: s, 0..1.

    Returns:
        float32 [N], nats.
    """

    @tf.custom_gradient
    def loss(logits: tf.Tensor) -> Any:
        total = tf.reduce_logsumexp(logits, -1)

        def gradient(upstream: tf.Tensor) -> tf.Tensor:
            rest = tf.exp(logits - total[:, None]) - smoothing / tf.cast(tf.shape(logits)[1], logits.dtype)
            places = tf.stack([tf.range(tf.shape(labels)[0]), labels], 1)
            own = tf.fill(tf.shape(labels), tf.constant(smoothing - 1, logits.dtype))
            return upstream[:, None] * tf.tensor_scatter_nd_add(rest, places, own)

        own = tf.gather(logits, labels, batch_dims=1)
        return total - (1 - smoothing) * own - smoothing * tf.reduce_mean(logits, -1), gradient

    return loss(logits)


def scheduled_sampler(probability: tf.Variable, seed: int) -> Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]:
    """Scheduled sampling (Bengio et al. 2015) for all steps at once, after a first teacher-forced pass
    (Duckworth et al. 2019).

    Returns:
        (inputs int32 [B, T], logits float32 [B, T, V] of the first pass, step int64 []) -> inputs with each word after
        the first replaced, with the probability, by one drawn from what the model predicted there.
    """

    class Sampler(addons().seq2seq.ScheduledEmbeddingTrainingSampler):  # type: ignore[misc]
        """The addons' sampler with draws by (seed, step, replica) alone, so that a resumed run repeats them."""

        def sample(self, time: tf.Tensor, outputs: tf.Tensor, state: Any) -> tf.Tensor:
            """outputs float32 [N, V] -> int32 [N], -1 where the true word stays; `time` is the training step."""
            first, second = (tf.stack([2 * seed + i + replica_seed(), tf.cast(time, tf.int64)]) for i in range(2))
            draws = tf.random.stateless_uniform([tf.shape(outputs)[0]], seed=first)
            words = tf.argmax(outputs + gumbel(tf.shape(outputs), second), -1, tf.int32)
            return tf.where(draws < self.sampling_probability, words, -1)

    sampler = Sampler(probability, embedding_fn=lambda ids: ids)

    def mix(inputs: tf.Tensor, logits: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
        flat = tf.reshape(logits[:, :-1], [-1, logits.shape[-1]])
        drawn = tf.reshape(sampler.sample(tf.cast(step, tf.int32), flat, ()), [tf.shape(inputs)[0], -1])
        # Padding stays padding, or a sampled word would make captions longer for the semantic encoder.
        later = tf.where((drawn >= 0) & (inputs[:, 1:] != 0), drawn, inputs[:, 1:])
        return tf.concat([inputs[:, :1], later], axis=1)

    return mix
