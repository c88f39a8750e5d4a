"""What is drawn and worth more becomes more likely, and nothing but the decoder learns from it."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from medcap_tf.training.loop import compiled_step
from medcap_tf.training.self_critical import caption_stages
from tests.training.test_stages import learned, made, regions


def self_critical(folder, **settings):
    context, _ = made(folder, **{"training__self_critical_epochs": 1, **settings})
    return context, caption_stages(context, regions(context))[1]


def test_without_epochs_there_is_no_such_stage(tmp_path):
    context, _ = made(tmp_path)
    assert [stage.name for stage in caption_stages(context, regions(context))] == ["caption"]


def test_it_teaches_the_decoder_alone(tmp_path):
    context, stage = self_critical(tmp_path)
    assert learned(context, stage) == ({"decoder"}, {"decoder"})


def test_the_loss_repeats_itself_by_seed_and_step_and_is_minus_the_reward(tmp_path):
    _, stage = self_critical(tmp_path)
    batch = next(iter(stage.batches(0, 0)))
    losses = [float(stage.loss(batch, tf.constant(step, tf.int64))) for step in (3, 3, *range(4, 12))]
    assert losses[0] == losses[1]
    assert len(set(losses)) > 2
    assert all(-10 <= loss <= 0 for loss in losses)


def test_captions_come_to_be_worth_more(tmp_path):
    settings = {"training__self_critical_epochs": 60, "training__self_critical_learning_rate": 1e-2}
    context, stage = self_critical(tmp_path, **settings)
    batch = next(iter(stage.batches(0, 0)))
    spec = tf.nest.map_structure(tf.type_spec_from_value, batch)
    step = compiled_step(stage, context.config.training, context.device, spec)
    losses = [float(step(batch)) for _ in range(120)]
    assert np.mean(losses[-20:]) < 1.25 * np.mean(losses[:20]) < 0
