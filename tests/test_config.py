"""Settings: types, ranges, files, and messages that name the field."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from medcap_tf.config import Config, DecoderConfig, TrainingConfig, describe, from_json, load
from medcap_tf.errors import InputError
from medcap_tf.setting_values import parse_settings


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
        ({"training.profile": "20:10"}, r"training\.profile: '20:10' should be first:last"),
        ({"training.profile": "0:2"}, r"training\.profile: '0:2' should be first:last"),
        ({"data.equalize": "perhaps"}, r"data\.equalize: 'perhaps' should be of type bool"),
    ],
)
def test_wrong_settings_are_named(values, message):
    with pytest.raises(InputError, match=message):
        Config().replace(values)


@pytest.mark.parametrize("name", ["decoder.units", "training.learning_rate", "training.seed", "visual.image_size"])
@pytest.mark.parametrize(
    "value", ["inf", "-inf", "nan", "1e999", "", "x", None, [], [5], {}, True, float("inf"), float("nan")]
)
def test_no_number_is_read_from_what_is_none(name, value):
    with pytest.raises(InputError, match=rf"^setting {name}: .* should be of type (int|float) \(a (whole )?number\)"):
        Config().replace({name: value})


@pytest.mark.parametrize("value", [None, 3, ["imagenet"], {}, True, "a\0b"])
def test_no_text_is_made_of_what_is_none(value):
    with pytest.raises(InputError, match=r"setting visual\.weights: .* should be of type str \(text\)"):
        Config().replace({"visual.weights": value})


@pytest.mark.parametrize("value", [None, 2, 1.5, "perhaps", "", [True], {}])
def test_no_switch_is_made_of_what_is_none(value):
    with pytest.raises(InputError, match=r"setting training\.xla: .* should be of type bool \(true or false\)"):
        Config().replace({"training.xla": value})


def test_an_oracle_learns_from_no_captions_of_its_own():
    with pytest.raises(InputError, match=r"self_critical_epochs and decoder\.semantic_source=reference"):
        Config().replace({"training.self_critical_epochs": 1, "decoder.semantic_source": "reference"})


def test_after_smaller_images_the_encoder_learns_at_its_own_size():
    with pytest.raises(InputError, match=r"visual\.small_epochs and visual\.concept_epochs: .* above 0"):
        Config().replace({"visual.small_epochs": 3})


def test_xla_is_not_deterministic():
    with pytest.raises(InputError, match=r"training\.xla and training\.deterministic: .* set one of them alone"):
        Config().replace({"training.xla": True, "training.deterministic": "true"})


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("decoder.units", "1e3", 1000),
        ("decoder.units", 64.0, 64),
        ("training.seed", "4294967295", 4294967295),
        ("training.clip_norm", 5, 5.0),
        ("training.xla", 1, True),
        ("training.xla", "No", False),
        ("visual.weights", Path("runs/first"), str(Path("runs/first"))),
    ],
)
def test_what_is_meant_is_taken(name, value, wanted):
    section, field = name.split(".")
    found = getattr(getattr(Config().replace({name: value}), section), field)
    assert found == wanted and type(found) is type(wanted)


@pytest.mark.parametrize(
    ("name", "closest"),
    [
        ("decoding.beamwidth", "decoding.beam_width"),
        ("decoding.Beam_Width", "decoding.beam_width"),
        ("decoder.beam_width", "decoding.beam_width"),  # the field of another section
        ("beam_width", "decoding.beam_width"),
        ("trainig.batch_size", "training.batch_size"),
        ("text.stemer", "text.stemmer"),
    ],
)
def test_an_unknown_name_is_answered_by_the_closest_one(name, closest):
    with pytest.raises(InputError, match=rf"setting {name}: no .*; did you mean {closest}\?"):
        Config().replace({name: "3"})


def test_a_name_like_no_other_is_answered_by_all():
    with pytest.raises(InputError, match=r"setting zzz: no section 'zzz'; There are data, text, visual"):
        Config().replace({"zzz": "3"})


def test_fields_are_checked_however_they_came():
    for wrong in (
        {"units": "5"}, {"units": None}, {"units": True}, {"units": 1.5}, {"dropout": float("nan")},
        {"image_concepts": 1},
    ):  # fmt: skip
        with pytest.raises(InputError, match="should be of type"):
            Config(decoder=DecoderConfig(**wrong))
    with pytest.raises(InputError, match="should be of type float"):
        Config(training=TrainingConfig(clip_norm=float("inf")))


def test_a_long_value_is_not_printed_whole():
    with pytest.raises(InputError) as caught:
        Config().replace({"decoder.units": list(range(9999))})
    assert len(str(caught.value)) < 200


def test_two_values_for_one_setting_are_refused():
    with pytest.raises(InputError, match=r"--set decoder\.units: given twice, 5 and 6; give it once"):
        parse_settings(["decoder.units=5", "text.min_count=1", "decoder.units=6"])
    assert parse_settings(["decoder.units=5", "decoder.units = 5"]) == {"decoder.units": "5"}


def test_a_setting_without_a_value_is_refused():
    with pytest.raises(InputError, match=r"section\.field=value"):
        parse_settings(["decoding.beam_width"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not JSON"),
        ("", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", "found list"),
        ("null", "found null"),
        ('{"text": 3}', "should hold fields"),
        ('{"text": null}', "should hold fields, found null"),
        ('{"decoder.units": 3}', "'decoder.units' should hold fields"),
        ('{"config": null}', "'config' should hold sections, found null"),
        ('{"config": {}, "decoder": {"units": 5}}', "section 'decoder' stands beside 'config'"),
        ('{"config": {}, "text": "natural"}', "section 'text' stands beside 'config'"),
        ('{"config": {}, "trainnig": {"epochs": 5}}', "section 'trainnig' stands beside 'config'"),
        ('{"decoding": {"neighbors": 8, "neighbours": 4}}', "neighbours: is an older name of decoding.neighbors"),
        ('{"decoder": {"units": 5, "units": 6}}', "key 'units' stands twice"),
        ('{"decoder": {}, "text": {}, "decoder": {"units": 6}}', "key 'decoder' stands twice"),
        ('{"decoder": {"units": NaN}}', r"decoder\.units: nan should be of type int"),
        ('{"training": {"learning_rate": Infinity}}', r"learning_rate: inf should be of type float"),
        ('{"visual": {"weights": null}}', r"visual\.weights: null should be of type str"),
        ('{"decoder": {"unit": 5}}', r"did you mean decoder\.units\?"),
    ],
)
def test_broken_files_are_named(tmp_path, content, message):
    path = tmp_path / "mine.json"
    path.write_text(content)
    with pytest.raises(InputError, match=f"mine.json.*{message}") as caught:
        load(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_a_byte_order_mark_is_no_fault(tmp_path, encoding):
    path = tmp_path / "mine.json"
    path.write_text('{"data": {"train_split": "übung"}}', encoding=encoding)
    assert load(path).data.train_split == "übung"


def test_what_a_run_keeps_beside_its_settings_is_none(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"config": {"decoder": {"units": 7}}, "data": "some/folder", "seed": 3}))
    assert load(path).decoder.units == 7


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"gone\.json: cannot be read"):
        load(tmp_path / "gone.json")


def test_every_setting_is_described():
    text = describe()
    assert "decoding.beam_width=3  1 to 64" in text
    assert "decoder.semantic_source=prefix  prefix | none | reference" in text


def test_a_preset_sets_a_whole_section_and_can_be_changed():
    natural = Config().replace({"text": "natural", "text.min_count": "1"}).text
    assert (natural.stemmer, natural.remove_stop_words, natural.punctuation, natural.min_count) == (
        "none",
        False,
        True,
        1,
    )
    assert Config().replace({"text.min_count": "1", "text": "natural"}).text == natural
    assert from_json({"text": "natural"}).text == Config().replace({"text": "natural"}).text
    assert from_json({"text": "paper"}, from_json({"text": "natural"})) == Config()


@pytest.mark.parametrize("value", ["formal", 3, ["natural"], None])
def test_an_unknown_preset_is_an_error(value):
    with pytest.raises(InputError, match="text=.* is none of paper, natural"):
        Config().replace({"text": value})
