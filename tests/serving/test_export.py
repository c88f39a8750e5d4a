"""What `export.py` leaves behind, and what it leaves not."""

from __future__ import annotations

import json
import shutil
import struct

import numpy as np
import pytest
from google.protobuf import text_format

from medcap_tf.captioner import RunCaptioner
from medcap_tf.errors import InputError
from medcap_tf.serving import export as exporting
from medcap_tf.serving.export import export
from medcap_tf.serving.files import find_version
from medcap_tf.serving.protos import from_proto, message_module
from tests.conftest import contents, run_command
from tests.serving.server import serving

pytestmark = pytest.mark.slow


def test_the_folder_and_the_last_line(exported):
    base, printed = exported
    assert sorted(path.name for path in base.iterdir()) == [
        "1", "batching.config", "compose.yaml", "model_card.md", "models.config", "monitoring.config",
        "signatures.json",
    ]  # fmt: skip
    assert (base / "1" / "saved_model.pb").is_file()
    assert {path.name for path in (base / "1" / "assets").iterdir()} == {"stems.txt", "words.txt", "forms.txt"}
    lines = printed.splitlines()
    assert "of 8 validation captions as the run generates them" in lines[0]
    assert lines[-1] == f"docker compose -f {base / 'compose.yaml'} up medcap"


def test_the_server_files_agree_with_each_other(exported):
    base, _ = exported
    kind = message_module("tensorflow_serving.config.model_server_config_pb2").ModelServerConfig
    (model,) = text_format.Parse((base / "models.config").read_text(), kind()).model_config_list.config
    assert (model.name, model.base_path) == ("medcap", "/models/medcap")
    batching = (base / "batching.config").read_text()
    sizes = [int(line.split()[1]) for line in batching.splitlines() if line.startswith("allowed_batch_sizes")]
    assert sizes[-1] == int(batching.split("max_batch_size { value: ")[1].split()[0]) == 32
    compose = (base / "compose.yaml").read_text()
    assert ".:/models/medcap:ro" in compose
    for name in ("models", "batching", "monitoring"):
        assert f"/models/medcap/{name}.config" in compose


def test_the_model_card_has_scores_beside_baselines_and_limits(exported, small_run):
    card = (exported[0] / "model_card.md").read_text()
    score = json.loads((small_run / "scores.json").read_text())["model"]["bleu_4"]
    assert f"| bleu_4 | {score:.4f} |" in card
    for words in ("popular_words", "nearest_image", "not a medical device", "## Intended use", "## Limits"):
        assert words in card


def test_warm_up_covers_every_signature_and_batch_size(exported, server):
    data = (exported[0] / "1" / "assets.extra" / "tf_serving_warmup_requests").read_bytes()
    kind = message_module("tensorflow_serving.apis.prediction_log_pb2").PredictionLog
    seen, place = set(), 0
    while place < len(data):
        (length,) = struct.unpack_from("<Q", data, place)
        request = kind.FromString(data[place + 12 : place + 12 + length]).predict_log.request
        ((name, tensor),) = request.inputs.items()
        answer = server.ask(request.model_spec.signature_name, from_proto(tensor), name)
        assert {len(value) for value in answer.values()} == {tensor.tensor_shape.dim[0].size}
        assert answer.get("valid", np.array(True)).all()
        seen.add((request.model_spec.signature_name, tensor.tensor_shape.dim[0].size))
        assert request.model_spec.name == "medcap"
        place += 16 + length
    names = ("serving_default", "image", "explain", "activations", "text")
    assert seen == {(name, size) for name in names for size in (1, 2, 4, 8, 16, 32)}


def test_a_moved_export_answers(exported, tmp_path, image_paths, server):
    moved = tmp_path / "elsewhere" / "medcap"
    shutil.copytree(exported[0], moved)
    files = [path.read_bytes() for path in image_paths[:2]]
    with serving(moved) as other:
        assert other.ask("serving_default", files)["caption"].tolist() == (
            server.ask("serving_default", files)["caption"].tolist()
        )


def test_versions_count_up_and_are_never_overwritten(exported, small_run, tmp_path):
    base = tmp_path / "medcap"
    (base / "7").mkdir(parents=True)
    settings = {"decoding.beam_width": 1, "decoding.no_repeat_ngram": 2}
    done = export(small_run, base, layers=["conv1_conv"], settings=settings)
    assert done.folder == base / "8"
    assert find_version(base) == base / "8"
    described = json.loads((base / "signatures.json").read_text())
    assert described["beam_width"] == 1 and described["layers"] == ["conv1_conv"] and described["version"] == 8
    assert described["no_repeat_ngram"] == 2
    with pytest.raises(InputError, match="8: this version exists"):
        export(small_run, base, version=8)


def test_a_failed_check_leaves_no_version(small_run, tmp_path, monkeypatch):
    # The real check, given what the model does not answer.
    answer = exporting._answer

    def wrong(signatures, request):
        return {name: value + 1 if name == "score" else value for name, value in answer(signatures, request).items()}

    monkeypatch.setattr(exporting, "_answer", wrong)
    with pytest.raises(InputError, match=r"score through TensorFlow's C API is not what the model in memory gives"):
        export(small_run, tmp_path / "medcap")
    assert list((tmp_path / "medcap").iterdir()) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data.equalize": True}, "data.equalize=true"),
        ({"decoder.semantic_source": "reference"}, "oracle"),
    ],
)
def test_runs_that_cannot_be_served_say_why(small_run, tmp_path, change, message):
    run = tmp_path / "run"
    shutil.copytree(small_run, run)
    values = json.loads((run / "config.json").read_text())
    for name, value in change.items():
        section, field = name.split(".")
        values["config"][section][field] = value
    (run / "config.json").write_text(json.dumps(values))
    with pytest.raises(InputError, match=message):
        export(run, tmp_path / "served")
    assert not list((tmp_path / "served").glob("*"))


def test_without_the_data_it_is_said_and_exported_all_the_same(small_run, tmp_path, capsys):
    run = tmp_path / "run"
    shutil.copytree(small_run, run)
    values = json.loads((run / "config.json").read_text())
    places = dict.fromkeys(("data", "data_path"), str(tmp_path / "gone"))
    (run / "config.json").write_text(json.dumps({**values, **places}))
    done = export(run, tmp_path / "served", precision="bfloat16")
    assert (done.compared, done.equal) == (0, 0)
    assert "not at hand" in capsys.readouterr().err


def test_a_name_that_no_configuration_can_hold_is_refused(small_run, tmp_path):
    with pytest.raises(InputError, match="names the model"):
        export(small_run, tmp_path / 'a "b"')


@pytest.mark.parametrize("arguments", [("--layers", "conv9"), ("--version", "0"), ("--precision", "int8")])
def test_wrong_options_are_said_before_anything_is_written(small_run, tmp_path, arguments):
    done = run_command("export.py", small_run, "--out", tmp_path / "served", *arguments, check=False)
    assert done.returncode in (1, 2)
    assert arguments[1] in done.stderr
    assert "Traceback" not in done.stderr
    assert not list((tmp_path / "served").glob("*"))


def test_an_export_captions_like_its_run(exported, small_run, image_paths, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_text("no image")
    arguments = ("caption", *[str(path) for path in (*image_paths, broken)])
    for folder in (exported[0], exported[0] / "1"):
        done = run_command("-m", "medcap_tf", arguments[0], folder, *arguments[1:], check=False)
        assert done.returncode == 1
        assert "broken.png" in done.stderr and "1 of 9 images" in done.stderr
        found = [line.split("\t")[1] for line in done.stdout.splitlines()]
        assert found == [caption.text for caption in RunCaptioner.load(small_run).caption(image_paths)]


def test_a_broken_file_of_the_run_is_said_before_anything_is_written(small_run, tmp_path):
    run = shutil.copytree(small_run, tmp_path / "run")
    (run / "scores.json").write_text("{")
    before = contents(run)
    with pytest.raises(InputError, match=r"scores.json: cannot be read"):
        export(run, tmp_path / "served" / "medcap")
    assert contents(run) == before
    assert not (tmp_path / "served").exists()
