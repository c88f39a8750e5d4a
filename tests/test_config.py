"""Settings: types, ranges, files, and messages that name the field."""

from __future__ import annotations

import json

import pytest

from medcap_tf.config import Config, describe, from_json, load, parse_settings
from medcap_tf.errors import InputError


def test_the_defaults_that_other_tools_read():
    config = Config()
    assert (config.visual.image_size, config.visual.layer) == (224, "conv5_block3_out")
    assert (config.decoder.semantic_source, config.decoding.beam_width) == ("prefix", 3)


def test_values_from_the_command_line_take_the_fields_type():
    given = parse_settings(["decoding.beam_width=5", "data.equalize=yes", "training.learning_rate=2e-4"])
    config = Config().replace(given)
    assert (config.decoding.beam_width, config.data.equalize, config.training.learning_rate) == (5, True, 2e-4)
    assert Config().decoding.beam_width == 3


def test_json_round_trip():
    config = Config().replace({"text.stemmer": "porter", "visual.image_size": 112})
    assert from_json(json.loads(json.dumps(config.to_json()))) == config


def test_a_runs_own_file_is_read(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"config": {"text": {"min_count": 7}}, "versions": {}}))
    assert load(path).text.min_count == 7


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"decoding.beam_width": "0"}, r"decoding\.beam_width: 0 lies outside 1 to 64"),
        ({"decoding.beam_width": "2.5"}, r"decoding\.beam_width: '2.5' should be of type int"),
        ({"decoding.beams": "3"}, r"no such field.*beam_width"),
        ({"search.beam_width": "3"}, r"no section 'search'.*decoding"),
        ({"text.stemmer": "german"}, r"text\.stemmer: 'german' is none of snowball"),
        ({"data.equalize": "perhaps"}, r"data\.equalize: 'perhaps' should be of type bool"),
    ],
)
def test_wrong_settings_are_named(values, message):
    with pytest.raises(InputError, match=message):
        Config().replace(values)


def test_a_setting_without_a_value_is_refused():
    with pytest.raises(InputError, match=r"section\.field=value"):
        parse_settings(["decoding.beam_width"])


@pytest.mark.parametrize(
    ("content", "message"), [("{", "not JSON"), ("[]", "found list"), ('{"text": 3}', "should hold fields")]
)
def test_broken_files_are_named(tmp_path, content, message):
    path = tmp_path / "mine.json"
    path.write_text(content)
    with pytest.raises(InputError, match=f"mine.json.*{message}"):
        load(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"gone\.json: cannot be read"):
        load(tmp_path / "gone.json")


def test_every_setting_is_described():
    text = describe()
    assert "decoding.beam_width=3  1 to 64" in text
    assert "decoder.semantic_source=prefix  prefix | none | reference" in text
