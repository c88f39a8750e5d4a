"""The package for people who program: load, caption, explain, train, export in a line each."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from medcap_tf.caption import Caption, ImageInput
from medcap_tf.config import Config
from medcap_tf.data import images
from medcap_tf.errors import InputError
from medcap_tf.explain import explanation
from medcap_tf.explain.explainer import Explainer, layer_by

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from medcap_tf.captioner import RunCaptioner
    from medcap_tf.serving.run_graph import RunGraph


class Explanation(explanation.Explanation):
    """Why an image has its caption, able to show itself; its arrays are those of `medcap_tf.explain.explanation`."""

    @classmethod
    def of(cls, arrays: explanation.Explanation) -> Explanation:
        """The same explanation."""
        return cls(**{field.name: getattr(arrays, field.name) for field in dataclasses.fields(arrays)})

    def plot(self, dpi: int = 110) -> Figure:
        """The figure of the maps that say most of each word (the first of `word_maps`); a notebook shows it.

        Raises:
            InputError: there is no caption.
        """
        from medcap_tf.explain.figures import WORD_MAPS, words_figure

        if self.caption.error or not self.image.size:
            raise InputError(self.caption.error or "there is no image to draw over")
        kind, maps = next(iter(self.word_maps().items()))
        return words_figure(self, maps, *WORD_MAPS[kind], dpi)

    def report(self, folder: Path | str) -> Path:
        """Write the page that shows everything, for a browser: `folder/report.html`; returns its path."""
        from medcap_tf.explain.report import write_report
        from medcap_tf.files import check_place

        check_place(Path(folder))
        Path(folder).mkdir(parents=True, exist_ok=True)
        return write_report(Path(folder) / "report.html", [self], self.caption.text or "No caption")

    def _repr_html_(self) -> str:
        """For a notebook: the report's page inside a frame."""
        from medcap_tf.explain.report import framed

        return framed(self)


class Captioner:
    """A run or an export, loaded by `load`.

    >>> captioner = medcap_tf.load("runs/demo")
    >>> caption = captioner.caption("scan.png")
    >>> captioner.explain(caption).plot()
    """

    def __init__(self, path: Path | str, settings: Mapping[str, Any] | None = None):
        """`load`."""
        from medcap_tf.serving.files import find_version

        version = find_version(Path(path))
        self._path, self._settings = Path(path).resolve(), dict(settings or {})
        self._explainers: dict[tuple[tuple[str, ...], Path | None], Explainer] = {}
        self._captioner: Any
        self._graph: RunGraph | None = None
        self.is_export = version is not None
        if version is None:
            from medcap_tf.run_folder import RunFolder
            from medcap_tf.serving.run_graph import RunGraph

            self._graph = RunGraph.find(RunFolder(path), settings)
            self._captioner = self._graph or self._run
        else:
            from medcap_tf.serving.export_captioner import ExportCaptioner

            self._captioner = ExportCaptioner(version, settings)

    @cached_property
    def _run(self) -> RunCaptioner:
        """The run's networks, which explain; where its graph captions they are loaded with the first explanation."""
        from medcap_tf.captioner import RunCaptioner
        from medcap_tf.run_folder import RunFolder

        if self._graph and self._graph.made_of != RunFolder(self._path).graph_digest():
            raise InputError(f"{self._path}: the run has changed since it was loaded; load it again")
        return RunCaptioner.load(self._path, self._settings)

    @property
    def concept_names(self) -> Mapping[str, str]:
        """What the data called the concepts' codes, where it did."""
        return self._captioner.concept_names

    @overload
    def caption(self, images: list[Any] | tuple[Any, ...], abstain_from: float | None = None) -> list[Caption]: ...
    @overload
    def caption(self, images: ImageInput, abstain_from: float | None = None) -> Caption: ...

    def caption(self, images: Any, abstain_from: float | None = None) -> Caption | list[Caption]:
        """Caption one image or a list of them.

        Args:
            images: the path of a file (JPEG, PNG, TIFF, DICOM, ...); an array uint8 [H, W, 3] in RGB or [H, W] in gray;
                a PIL image; or a list of these.
            abstain_from: of images of this novelty (a percentile, 0 to 100) or more there is no caption but the reason,
                in its `abstained`; None: of all there is one.

        Returns:
            A `Caption`, or a list of them in the same order. One that could not be read says why in its `error`.

        Raises:
            InputError: it shall abstain, and knows no novelty.
        """
        if not isinstance(images, (list, tuple)):
            return self.caption([images], abstain_from)[0]
        captions = self._captioner.caption(images)
        return [one if abstain_from is None else one.unless_novel(abstain_from) for one in captions]

    def explain(
        self,
        caption: Caption | ImageInput,
        reference: str = "",
        layers: Sequence[str] | None = None,
        training_data: Path | str | None = None,
    ) -> Explanation:
        """Say why an image has its caption.

        Args:
            caption: of `caption`, or an image to be captioned first.
            reference: the reference caption, where known.
            layers: of a run, ResNet50's layers to show, by name or number; None: the last one that it has.
            training_data: of a run, the data set that it was trained on, to show the similar images in it; None: their
                captions alone are shown.

        Returns:
            An `Explanation`; of an export, what its answer holds: no gradients, no layers.

        Raises:
            InputError: no such layer, or training data that cannot be read.
        """
        if isinstance(caption, (list, tuple)):
            raise InputError("explain takes one image or caption; explain those of a list one by one")
        if not isinstance(caption, Caption):
            caption = self.caption(caption)
        if caption.error:
            return Explanation(caption)
        if self.is_export:
            image = images.to_array(caption.path if caption.image is None else caption.image)
            return Explanation.of(explanation.from_caption(caption, image))
        names = [self._run.config.visual.layer] if layers is None else layers
        shown = tuple(layer_by(self._run, name) for name in names)
        key = (shown, None if training_data is None else Path(training_data))
        if key not in self._explainers:
            self._explainers[key] = Explainer(self._run, shown, training_data=key[1])
        return Explanation.of(self._explainers[key].explain(caption, reference))


def load(path: Path | str, settings: Mapping[str, Any] | None = None) -> Captioner:
    """Load a run folder, or an export (its folder, or one of its versions).

    Args:
        path: what `train` or `export` wrote.
        settings: decoding options of a run that differ from its own, such as `{"decoding.beam_width": 5}`.

    Raises:
        InputError: neither a finished run nor an export; settings for an export, whose own are fixed.
    """
    return Captioner(path, settings)


def train(
    data: Path | str,
    run: Path | str,
    settings: Mapping[str, Any] | None = None,
    *,
    config: Config | Path | str | None = None,
    resume: bool = False,
) -> dict[str, Any]:
    """Train a captioner and score it on the data's test split; the same as `medcap train`.

    Args:
        data: a folder of images and tables.
        run: the folder to write.
        settings: `{"section.field": value}`, over those of `config`.
        config: a configuration, or the path of a JSON file of settings; default: all defaults.
        resume: go on with the run if it was begun.

    Returns:
        The content of `scores.json`.

    Raises:
        InputError: data that cannot be trained on, a run folder that is taken, settings that do not fit.
    """
    from medcap_tf.config import load as load_config
    from medcap_tf.training.run import train as train_run

    base = config if isinstance(config, Config) else load_config(Path(config)) if config else Config()
    return train_run(base.replace(settings or {}), Path(data), Path(run), resume)


def export(run: Path | str, base: Path | str, settings: Mapping[str, Any] | None = None, **options: Any) -> Path:
    """Export a run for TensorFlow Serving; the same as `medcap export`.

    Args:
        run: a finished run folder.
        base: the model's folder, whose name is the model's; a numbered version is added to it.
        settings: decoding options that differ from the run's.
        options: `version`, `layers` and `precision`, as of `medcap export`.

    Returns:
        The version's folder.

    Raises:
        InputError: no such run, or an export that failed its checks.
    """
    from medcap_tf.serving.export import export as write_export

    return write_export(Path(run), Path(base), settings=settings, **options).folder
