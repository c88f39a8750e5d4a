"""A small captioning network without dropout, its weights drawn at random.

Keras takes seconds to build ResNet50, whatever is cut off it: each architecture is built once a process, and handed out
with the weights that it began with.
"""

from __future__ import annotations

import dataclasses
import functools

import keras
import numpy as np

from medcap_tf.captioner import RunCaptioner
from medcap_tf.config import Config
from medcap_tf.models.captioning import CaptioningModel
from medcap_tf.models.retrieval import RetrievalParameters, Retriever
from medcap_tf.run_folder import ConceptList
from medcap_tf.text import END, START, Normalizer, Vocabulary

SETTINGS = {
    "visual.weights": "none", "visual.image_size": 32, "visual.layer": "conv2_block1_out", "visual.concept_epochs": 1,
    "semantic.units": 8, "semantic.embedding_size": 8, "semantic.attention_units": 8, "decoder.units": 8,
    "decoder.embedding_size": 8, "decoder.attention_units": 8, "decoding.max_length": 6, "decoding.beam_width": 2,
    "visual.concept_dropout": 0.0, "semantic.dropout": 0.0, "decoder.dropout": 0.0,
}  # fmt: skip
VOCABULARY, CONCEPTS = 12, 3
PIXELS = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)


def build_network(retrieval=False, **settings):
    """The network and its configuration; `decoder__units=9` sets `decoder.units`."""
    config = Config().replace({**SETTINGS, **{name.replace("__", "."): value for name, value in settings.items()}})
    visual = dataclasses.replace(config.visual, trainable="none", concept_trainable="all")  # which stages set anew
    model, weights = _built(Config(visual=visual, semantic=config.semantic, decoder=config.decoder))
    for part, keras_model in model.parts().items():
        keras_model.set_weights(weights[part])
    if not retrieval:
        return model, config
    rng = np.random.default_rng(1)
    tokens = np.array([[START, 5, 6, 7, END, 0], [START, 5, 8, END, 0, 0]], np.int32)
    features = rng.uniform(0, 1, (2, model.encoder.output_shape[-1]))
    retriever = Retriever(
        features, tokens, np.array([[0], [1]]), CONCEPTS, np.arange(2), 2, RetrievalParameters(0.8, 0.3, 0.5)
    )
    return dataclasses.replace(model, retriever=retriever), config


def build_captioner(retrieval=False):
    """The network as a captioner of words and concepts without meaning."""
    model, config = build_network(retrieval)
    words = [f"w{token:02}" for token in range(END + 1, VOCABULARY)]
    vocabulary = Vocabulary.build([" ".join(words)] * 2, Normalizer())
    assert len(vocabulary) == VOCABULARY
    return RunCaptioner(config, model, vocabulary, ConceptList(("C1", "C2", "C3"), {"image": 0.5}))


@functools.cache
def _built(config):
    keras.utils.set_random_seed(4)
    model = CaptioningModel.build(config, VOCABULARY, CONCEPTS)
    return model, {part: keras_model.get_weights() for part, keras_model in model.parts().items()}
