"""One tiny stage each: what is to learn learns, all else stays as it was, and each sees the examples it should."""

from __future__ import annotations

import dataclasses

import cv2
import h5py
import numpy as np
import pytest
import tensorflow as tf

from medcap_tf.data.pipeline import Examples
from medcap_tf.data.records import Record
from medcap_tf.data.splits import Splits
from medcap_tf.models.visual import pack
from medcap_tf.run_folder import RunFolder
from medcap_tf.text import END, START, Normalizer, Vocabulary
from medcap_tf.training.device import Device
from medcap_tf.training.history import History
from medcap_tf.training.loop import compiled_step, run_stage
from medcap_tf.training.run import _train_on_small_images
from medcap_tf.training.stages import (
    TrainingContext,
    VisualInput,
    caption_stage,
    image_concept_scores,
    semantic_stage,
    visual_stage,
    word_concept_scores,
)
from tests.network import CONCEPTS, VOCABULARY, build_network

CODES = ["C1", "C2", "C3"]
CAPTIONS = ["left kidney", "right kidney cyst", "left lung", "", "large liver abscess"]
KNOWN = Vocabulary.build([*CAPTIONS, *CAPTIONS], Normalizer())
RECORDS = [
    Record(f"image{row}", None, caption, concepts)
    for row, (caption, concepts) in enumerate(zip(CAPTIONS, [("C1",), ("C1", "C2"), (), ("C3",), ("C2", "C9")]))
]
IMAGES = np.random.default_rng(0).integers(0, 256, (len(RECORDS), 32, 32, 3), np.uint8)


def made(folder, **settings):
    """A context of five training records, the last three of which validate, and its images."""
    one_epoch = {"semantic__epochs": 1, "training__epochs": 1, "training__batch_size": 2, "training__warmup_epochs": 0}
    model, config = build_network(**{**one_epoch, **settings})
    assert len(KNOWN) == VOCABULARY and len(CODES) == CONCEPTS
    train, valid = (Examples.of(records, CODES, KNOWN, 10) for records in (RECORDS, RECORDS[2:]))
    device = Device(tf.distribute.get_strategy(), "float32", "float32", "this process")
    context = TrainingContext(config, model, train, valid, KNOWN, CODES, RunFolder(folder), device)
    return context, VisualInput(lambda rows, _: IMAGES[rows], lambda rows, _: IMAGES[2:][rows], (32, 32, 3), tf.uint8)


def regions(context):
    """What the caption stage reads where the encoder stays as it is."""
    model = context.model
    cached = pack(model.see(IMAGES)).numpy().astype(np.float16)
    return VisualInput(lambda rows, _: cached[rows], lambda rows, _: cached[2:][rows], (cached.shape[-1],), tf.float16)


def weights(context):
    """Every part's weights by name."""
    return {
        (part, variable.name): variable.numpy()
        for part, model in context.model.parts().items()
        for variable in model.weights
    }


def learned(context, stage):
    """The parts of the network that a stage changes, and the files of its best weights."""
    before = weights(context)
    best = run_stage(stage, context.config.training, context.device, context.run, History(context.run))
    changed = {part for (part, name), w in weights(context).items() if (w != before[part, name]).any()}
    return changed, {path.stem for path in best.iterdir()}


def batch_losses(stage, epoch=0, step=3):
    stage.epoch_start(epoch)
    return [float(stage.loss(batch, tf.constant(step, tf.int64))) for batch in stage.batches(0, 0)]


@pytest.mark.parametrize(
    ("trainable", "parts"),
    [("all", {"encoder", "concept_head"}), ("last_stage", {"encoder", "concept_head"}), ("none", {"concept_head"})],
)
def test_the_visual_stage_teaches_the_encoder_and_its_head(tmp_path, trainable, parts):
    context, images = made(tmp_path, visual__concept_trainable=trainable)
    stem = context.model.encoder.get_layer("conv1_conv").kernel
    before = stem.numpy()
    changed, files = learned(context, visual_stage(context, images))
    assert changed == parts
    assert files == {"encoder", "concept_head"}
    assert (stem.numpy() == before).all() == (trainable != "all")


def test_smaller_images_teach_the_encoder_first(tmp_path):
    settings = {"visual__image_size": 48, "visual__small_size": 32, "visual__small_epochs": 1, "visual__grid": 16}
    context, _ = made(tmp_path / "run", **settings)
    records = [dataclasses.replace(record, image_path=tmp_path / f"{record.image_id}.png") for record in RECORDS]
    for record, image in zip(records, IMAGES):
        cv2.imwrite(str(record.image_path), image)
    before = weights(context)
    _train_on_small_images(context, Splits(records, records[2:], []), History(context.run))
    changed = {name for (part, name), w in weights(context).items() if (w != before[part, name]).any()}
    assert "conv1_conv/kernel:0" in changed and not any(name.startswith("pyramid_") for name in changed)
    assert {part for part, name in before if name in changed} == {"encoder"}
    with h5py.File(context.run.checkpoints / "small/best-1/encoder.h5") as file:
        kept = file["conv1_conv/conv1_conv/kernel:0"][()]
    np.testing.assert_array_equal(context.model.encoder.get_layer("conv1_conv").kernel, kept)
    assert [(row["stage"], row["epoch"]) for row in History.read(context.run)] == [("small", "1")]


def test_the_semantic_stage_teaches_the_semantic_encoder_alone(tmp_path):
    context, _ = made(tmp_path)
    assert learned(context, semantic_stage(context)) == ({"semantic"}, {"semantic"})


def test_the_caption_stage_teaches_the_decoder_alone_over_cached_regions(tmp_path):
    context, _ = made(tmp_path)
    assert learned(context, caption_stage(context, regions(context))) == ({"decoder"}, {"decoder"})


def test_the_encoder_learns_along_with_the_captions_where_it_is_asked_to(tmp_path):
    context, images = made(tmp_path, visual__trainable="all")
    assert learned(context, caption_stage(context, images)) == ({"decoder", "encoder"}, {"decoder", "encoder"})


def test_each_stage_leaves_out_the_examples_that_it_cannot_learn_from(tmp_path):
    context, images = made(tmp_path)
    seen = {}
    for stage in (visual_stage(context, images), semantic_stage(context), caption_stage(context, regions(context))):
        batches = list(stage.batches(0, 0))
        assert stage.steps == len(batches)
        seen[stage.name] = sorted(name for batch in batches for name in stage.row_ids(batch["rows"].numpy()))
    assert seen == {
        "visual": ["image0", "image1", "image3", "image4"],  # that have a learned concept
        "semantic": ["image0", "image1", "image4"],  # and words
        "caption": ["image0", "image1", "image2", "image4"],  # that have words
    }


def test_the_visual_side_of_a_batch_is_that_of_its_records(tmp_path):
    context, _ = made(tmp_path)
    cached = regions(context)
    for batch in caption_stage(context, cached).batches(0, 0):
        words = [KNOWN.decode(row) for row in batch["targets"].numpy()]
        rows = [CAPTIONS.index(next(c for c in CAPTIONS if KNOWN.decode(KNOWN.encode(c)) == list(w))) for w in words]
        np.testing.assert_array_equal(batch["visual"], cached.train(np.array(rows), None))


def test_epochs_have_an_order_each_and_the_same_one_again(tmp_path):
    context, images = made(tmp_path, training__batch_size=1)
    stage, again = visual_stage(context, images), visual_stage(context, images)
    order = [[int(batch["rows"][0]) for batch in stage.batches(epoch, 0)] for epoch in range(6)]
    assert len({tuple(rows) for rows in order}) > 1
    assert order == [[int(batch["rows"][0]) for batch in again.batches(epoch, 0)] for epoch in range(6)]
    assert [int(batch["rows"][0]) for batch in stage.batches(3, 2)] == order[3][2:]


class TestScheduledSampling:
    """Over three epochs, to a probability of 1 in the last: then every word but `<start>` is the model's own."""

    def test_it_is_off_by_default(self, tmp_path):
        context, _ = made(tmp_path, training__epochs=3)
        stage = caption_stage(context, regions(context))
        assert batch_losses(stage, 0) == batch_losses(stage, 2)

    def test_it_grows_from_none_in_the_first_epoch(self, tmp_path):
        context, _ = made(tmp_path, training__epochs=3, training__scheduled_sampling=1.0)
        sampled = caption_stage(context, regions(context))
        config = context.config.replace({"training.scheduled_sampling": 0.0})
        forced = caption_stage(context._replace(config=config), regions(context))
        assert batch_losses(sampled, 0) == pytest.approx(batch_losses(forced), rel=1e-6)
        assert batch_losses(sampled, 2) != pytest.approx(batch_losses(forced), rel=1e-4)
        assert batch_losses(sampled, 2) == batch_losses(sampled, 2)  # by seed and step
        assert batch_losses(sampled, 2, step=3) != batch_losses(sampled, 2, step=4)


@pytest.mark.parametrize("precision", ["float32", "mixed_float16"])
@pytest.mark.parametrize("way", ["update", "step"])
def test_what_xla_compiles_moves_the_weights_as_the_rest_does(tmp_path, way, precision):
    """The update alone, as on a GPU, and the whole step, as `training.xla` asks for."""
    after = []
    for compiled in (False, True):
        tf.keras.utils.set_random_seed(1)
        context, _ = made(tmp_path, decoder__dropout=0.0)
        device = context.device._replace(precision=precision, compiles_updates=compiled and way == "update")
        stage = caption_stage(context, regions(context))
        stage.xla = compiled and way == "step"
        batch = next(iter(stage.batches(0, 0)))
        spec = tf.nest.map_structure(tf.type_spec_from_value, batch)
        step = compiled_step(stage, context.config.training, device, spec)
        losses = [float(step(batch)) for _ in range(3)]
        assert losses[2] < losses[0]
        after.append(np.concatenate([variable.numpy().ravel() for variable in stage.variables]))
    # Adam's first steps are as long for a gradient of nothing but rounding.
    assert np.linalg.norm(after[1] - after[0]) < 1e-3 * np.linalg.norm(after[0])


def test_batches_that_xla_compiles_have_one_shape(tmp_path):
    context, source = made(tmp_path, training__xla=True)
    for stage in (visual_stage(context, source), caption_stage(context, regions(context))):
        batches = list(stage.batches(0, 0))
        assert len(batches) == stage.steps == 2
        assert len({tuple((name, value.shape) for name, value in batch.items()) for batch in batches}) == 1
        assert all(spec.shape.is_fully_defined() for spec in stage.batches(0, 0).element_spec.values())


def test_the_caption_loss_is_the_mean_of_all_words_and_their_ends(tmp_path):
    context, _ = made(tmp_path, training__label_smoothing=0.0, training__batch_size=5)
    (batch,) = caption_stage(context, regions(context)).batches(0, 0)
    (loss,) = batch_losses(caption_stage(context, regions(context)))
    encoded = context.model.encode_seen(context.model.unpack(batch["visual"]))
    log_probs = context.model.score(encoded, batch["targets"]).log_probs
    assert loss == pytest.approx(-float(tf.reduce_sum(log_probs)) / (3 + 4 + 3 + 4), rel=1e-5)
    assert batch["inputs"].numpy()[:, 0].tolist() == [START] * 4
    assert (batch["targets"].numpy() == END).sum() == 4


def test_validation_scores_are_those_of_perfect_and_of_empty_answers(tmp_path):
    context, images = made(tmp_path)
    dense = context.model.head.get_layer("concept_logits")
    dense.set_weights([np.zeros_like(dense.get_weights()[0]), np.array([-9.0, 9.0, -9.0], np.float32)])
    scores = visual_stage(context, images).validate()
    # C2 of all three images: the third has it and C9, which is not learned; the second has C3, the first nothing.
    assert scores["concept_f1"] == pytest.approx((0 + 2 / 3) / 2)
    assert scores["micro_f1"] == pytest.approx(2 / (3 + 2))  # of learned concepts: 1 hit, 3 named, 2 true
    assert image_concept_scores(context, images).round(2).tolist() == [[0, 1, 0]] * 3
    assert word_concept_scores(context, context.valid).shape == (3, 3)
    captions = caption_stage(context, regions(context)).validate()
    assert set(captions) == {"loss", "bleu_1", "bleu_4", "cider"}


def test_a_network_without_concepts_learns_captions(tmp_path):
    context, _ = made(tmp_path, decoder__semantic_source="none", decoder__image_concepts=False)
    model = dataclasses.replace(context.model, head=None, semantic=None)
    context = context._replace(model=model)
    assert np.isfinite(batch_losses(caption_stage(context, regions(context)))).all()
