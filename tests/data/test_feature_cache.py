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

    def test_the_same_content_under_two_names_is_one_row(self, records, tmp_path):
        twin = tmp_path / "twin.png"
        twin.write_bytes(records[2].image_path.read_bytes())
        _, rows, computed = self.fill(tmp_path / "cache", [*records, Record("twin", twin, "", ())])
        assert computed == 5
        assert rows[5] == rows[2]

    def test_a_damaged_row_is_computed_again(self, records, tmp_path):
        self.fill(tmp_path / "cache", records)
        data = tmp_path / "cache" / "identity.features"
        content = bytearray(data.read_bytes())
        content[2 * 12 + 1] ^= 255  # the third row
        data.write_bytes(bytes(content))
        cache, rows, computed = self.fill(tmp_path / "cache", records)
        assert computed == 3  # the damaged one and those behind it
        assert cache.features("identity")[rows][:, 0, 0, 0].tolist() == [0, 50, 100, 150, 200]

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

        names = {fingerprint(encoder(v), size, eq) for v in (0, 1) for size in (8, 9) for eq in (False, True)}
        assert len(names) == 8
        assert fingerprint(encoder(1), 8, False) == fingerprint(encoder(1), 8, False)
