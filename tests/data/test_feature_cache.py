"""The feature cache: interrupted, damaged, grown or shared, it tells the truth."""

from __future__ import annotations

import threading
import time

import cv2
import numpy as np
import pytest

from medcap_tf.config import DataConfig
from medcap_tf.data.feature_cache import FeatureCache, feature_loader, fingerprint, views
from medcap_tf.data.records import Record
from medcap_tf.errors import InputError


def test_views_follow_the_settings():
    assert views(DataConfig(horizontal_flip=False, crop=1.0)) == ["identity"]
    assert views(DataConfig(vertical_flip=True)) == ["identity", "horizontal_flip", "vertical_flip", "center_crop"]


class TestFeatureCache:
    """A cache of [1, 2, 3] features: pixels' mean, plus the channel's number."""

    shape = (1, 2, 3)

    def fill(self, folder, records, view="identity", meanwhile=lambda: None):
        computed = []

        def compute(pixels):
            meanwhile()
            computed.extend(range(len(pixels)))
            return pixels.mean((1, 2))[:, None, None, :] + np.arange(3) + np.zeros((1, 1, 2, 1))

        def prepared(record, view):
            return cv2.imread(str(record.image_path))

        cache = FeatureCache(folder, self.shape)
        return cache, cache.fill(records, view, compute, prepared), len(computed)

    def test_each_record_finds_its_features(self, records, tmp_path):
        cache, rows, computed = self.fill(tmp_path / "cache", records)
        assert computed == 5
        np.testing.assert_array_equal(cache.features("identity")[rows][:, 0, 1, 2], [2, 52, 102, 152, 202])
        load = feature_loader(cache, {"identity": rows})
        assert load(np.array([3, 0]), np.random.default_rng(0))[:, 0, 0, 0].tolist() == [150, 0]

    def test_a_second_run_computes_nothing_and_a_new_image_only_itself(self, records, tmp_path):
        self.fill(tmp_path / "cache", records[:4])
        assert self.fill(tmp_path / "cache", records[:4])[2] == 0
        cache, rows, computed = self.fill(tmp_path / "cache", records)
        assert computed == 1
        assert cache.features("identity")[rows][:, 0, 0, 0].tolist() == [0, 50, 100, 150, 200]

    def test_what_others_have_computed_is_taken_over_once(self, records, tmp_path):
        cache, _, _ = self.fill(tmp_path / "cache", records[:2])
        part, _, _ = self.fill(tmp_path / "part", records[1:])
        assert cache.take_over(part, "identity") == 3
        assert cache.take_over(part, "identity") == 0
        cache, rows, computed = self.fill(tmp_path / "cache", records)
        assert computed == 0
        assert cache.features("identity")[rows][:, 0, 0, 0].tolist() == [0, 50, 100, 150, 200]

    def test_the_same_content_under_two_names_is_one_row(self, records, tmp_path):
        twin = tmp_path / "twin.png"
        twin.write_bytes(records[2].image_path.read_bytes())
        _, rows, computed = self.fill(tmp_path / "cache", [*records, Record("twin", twin, "", ())])
        assert computed == 5
        assert rows[5] == rows[2]

    @pytest.mark.parametrize("name", ["identity.features", "identity.index"])
    def test_a_damaged_row_is_computed_again_when_it_is_read(self, records, tmp_path, name):
        self.fill(tmp_path / "cache", records)
        path = tmp_path / "cache" / name
        sound, content = path.read_bytes(), bytearray(path.read_bytes())
        content[len(content) // 5 * 3 - 2] ^= 1  # of the third row the last value, or the last digit of its checksum
        path.write_bytes(bytes(content))
        cache, rows, computed = self.fill(tmp_path / "cache", records)
        assert computed == 0
        assert cache.features("identity")[rows][:, 0, 0, 0].tolist() == [0, 50, 100, 150, 200]
        assert path.read_bytes() == sound

    def test_rows_of_another_view_are_told_apart_when_they_are_mended(self, records, tmp_path):
        cache, rows, _ = self.fill(tmp_path / "cache", records)
        (tmp_path / "cache" / "identity.features").write_bytes(bytes(5 * 12))
        load = feature_loader(cache, {"identity": rows})
        assert load(np.array([4, 1]), np.random.default_rng(0))[:, 0, 0, 1].tolist() == [201, 51]

    def test_what_will_be_written_is_said(self, records, tmp_path):
        cache = FeatureCache(tmp_path / "caches" / "one", (1000, 1000, 3))  # 6 MB a row
        said = cache.reserve({"identity": records, "center_crop": records[:4]})
        assert said.startswith(f"feature cache: 54.0 MB (5 images in 2 views) to be written to {tmp_path / 'caches'}; ")
        assert not (tmp_path / "caches").exists()
        self.fill(tmp_path / "cache", records[:4])
        assert "(1 images in 1 view)" in FeatureCache(tmp_path / "cache", self.shape).reserve({"identity": records})
        assert FeatureCache(tmp_path / "cache", self.shape).reserve({"identity": records[:4]}) == ""

    def test_what_does_not_fit_is_refused_with_other_ways(self, records, tmp_path):
        huge = FeatureCache(tmp_path / "caches" / "one", (10**7, 10**7, 3))
        with pytest.raises(InputError, match=r"needs 3,000,000\.0 GB \(5 images in 1 view\), and .* another folder"):
            huge.reserve({"identity": records})

    @pytest.mark.parametrize("lost", [1, 5, 40, 80])
    def test_a_torn_end_is_written_again(self, records, tmp_path, lost):
        self.fill(tmp_path / "cache", records)
        index = tmp_path / "cache" / "identity.index"
        index.write_bytes(index.read_bytes()[:-lost])
        cache, rows, computed = self.fill(tmp_path / "cache", records)
        assert computed == (2 if lost == 80 else 1)
        assert cache.features("identity")[rows][:, 0, 0, 0].tolist() == [0, 50, 100, 150, 200]

    def test_a_second_run_waits_for_the_first_and_finds_its_rows(self, records, tmp_path):
        second = []
        other = threading.Thread(target=lambda: second.append(self.fill(tmp_path / "cache", records)[2]))

        def meanwhile():
            other.start()
            time.sleep(0.3)
            assert not second

        assert self.fill(tmp_path / "cache", records, meanwhile=meanwhile)[2] == 5
        other.join()
        assert second == [0]

    def test_other_weights_are_another_cache(self):
        import keras

        def encoder(value):
            image = keras.Input((8, 8, 3))
            model = keras.Model(image, keras.layers.Conv2D(2, 3, name="conv")(image))
            model.set_weights([np.full(w.shape, value) for w in model.weights])
            return model

        names = {fingerprint([encoder(v)], size, eq) for v in (0, 1) for size in (8, 9) for eq in (False, True)}
        assert len(names) == 8
        assert fingerprint([encoder(1)], 8, False) == fingerprint([encoder(1)], 8, False)
