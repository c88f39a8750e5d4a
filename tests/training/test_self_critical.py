"""What is drawn and worth more becomes more likely, and nothing but the decoder learns from it."""

from __future__ import annotations

import dataclasses

import numpy as np
import tensorflow as tf

from medcap_tf.evaluation.metrics import CiderD, cut_caption
from medcap_tf.text import END, PAD, START, UNK
from medcap_tf.training.loop import compiled_step
from medcap_tf.training.self_critical import SAMPLES, caption_stages
from tests.training.test_stages import learned, made, regions


def stages(folder, **settings):
    context, _ = made(folder, **{"training__self_critical_epochs": 1, **settings})
    return context, *caption_stages(context, regions(context))


def test_without_epochs_there_is_no_such_stage(tmp_path):
    context, _ = made(tmp_path)
    assert [stage.name for stage in caption_stages(context, regions(context))] == ["caption"]


def test_it_teaches_the_decoder_alone(tmp_path):
    context, _, stage = stages(tmp_path)
    assert learned(context, stage)[0] <= {"decoder"}
    assert learned(context, dataclasses.replace(stage, name="again", begins_trained=False)) == (
        {"decoder"},
        {"decoder"},
    )


def test_its_batches_and_pictures_are_its_own(tmp_path):
    _, by_words, stage = stages(tmp_path, training__batch_size=4)
    orders = [[batch["rows"].numpy().tolist() for batch in one.batches(3, 0)] for one in (by_words, stage)]
    assert orders[0] != orders[1]
    stage.epoch_end.append(print)
    assert by_words.epoch_end == []


def drawn_by_hand(context, batch, step):
    """What the stage draws of a batch at a step: captions as lists of IDs with `<end>`, their rows and their images."""
    model = context.model
    visual = tf.repeat(batch["visual"], SAMPLES, 0)
    seen, images = model.unpack(visual), [model.unpack(one[None]) for one in visual]
    options = dataclasses.replace(context.config.decoding, beam_width=1, no_repeat_ngram=0)
    result = model.generate(model.encode_seen(seen), options, seed=tf.constant([context.config.training.seed, step]))
    captions = [[int(word) for word in row if word != PAD] for row in result.tokens.numpy()]
    captions = [words + [END] * (len(words) < options.max_length) for words in captions]
    return captions, np.repeat(batch["rows"].numpy(), SAMPLES), images


def test_the_gradient_is_each_captions_own_by_its_reward_less_that_of_the_others(tmp_path):
    context, _, stage = stages(tmp_path, decoding__max_length=5)
    references = [[*words, END] for words in context.train.with_words().words]
    cider = CiderD([cut_caption(reference) for reference in references])
    batch = next(iter(stage.batches(0, 0)))
    cut = ended = 0
    for step in range(3):
        with tf.GradientTape() as tape:
            loss = stage.loss(batch, tf.constant(step, tf.int64))
        found = tape.gradient(loss, stage.variables)
        captions, rows, images = drawn_by_hand(context, batch, step)
        cut += sum(words[-1] != END for words in captions)
        ended += sum(words[-1] == END for words in captions)
        rewards = np.array([cider.score(row, cut_caption(words)) for row, words in zip(rows, captions)])
        worth = [r - (rewards[rows == row].sum() - r) / (SAMPLES - 1) for r, row in zip(rewards, rows)]
        with tf.GradientTape() as tape:
            total = 0.0
            for words, image, value in zip(captions, images, worth):
                logits = context.model.teacher_forced(image, tf.constant([[START, *words[:-1]]]))["logits"][0]
                allowed = np.isin(np.arange(logits.shape[-1]), [PAD, START, UNK], invert=True)
                log_probs = tf.nn.log_softmax(tf.where(allowed, logits, -np.inf))
                total -= value * tf.reduce_sum(tf.gather(log_probs, words, batch_dims=1)) / len(captions)
        expected = tape.gradient(total, stage.variables)
        np.testing.assert_allclose(float(loss), -rewards.mean(), rtol=1e-5)
        assert any(np.abs(tf.convert_to_tensor(g)).max() > 1e-3 for g in expected if g is not None)
        for one, other in zip(found, expected):
            assert (one is None) == (other is None)
            if one is not None:
                one, other = tf.convert_to_tensor(one), tf.convert_to_tensor(other)
                np.testing.assert_allclose(one, other, atol=1e-5)
    assert cut and ended


def test_draws_repeat_themselves_by_seed_and_step(tmp_path):
    _, _, stage = stages(tmp_path)
    batch = next(iter(stage.batches(0, 0)))
    losses = [float(stage.loss(batch, tf.constant(step, tf.int64))) for step in (3, 3, *range(4, 12))]
    assert losses[0] == losses[1]
    assert len(set(losses)) > 2


def test_captions_come_to_be_worth_more(tmp_path):
    settings = {"training__self_critical_epochs": 150, "training__self_critical_learning_rate": 1e-2}
    context, _, stage = stages(tmp_path, **settings)
    batch = next(iter(stage.batches(0, 0)))
    spec = tf.nest.map_structure(tf.type_spec_from_value, batch)
    step = compiled_step(stage, context.config.training, context.device, spec)
    losses = [float(step(batch)) for _ in range(300)]
    assert np.mean(losses[-50:]) < 1.25 * np.mean(losses[:20]) < 0
