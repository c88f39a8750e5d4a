"""The notebook in docs/ runs from its first cell to its last."""

from __future__ import annotations

import pytest

from tests.conftest import ROOT

NOTEBOOK = ROOT / "docs" / "phantoms_to_explanation.ipynb"


@pytest.fixture
def notebook():
    """The notebook as it lies in docs/."""
    nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed (pip install -e '.[dev]')")
    return nbformat.read(NOTEBOOK, as_version=4)


def test_notebook_is_kept_without_outputs(notebook):
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert code and all(not cell.outputs and cell.execution_count is None for cell in code)


@pytest.mark.slow
def test_notebook_runs_and_shows_a_caption_with_its_reasons(notebook, tmp_path, monkeypatch):
    nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed (pip install -e '.[dev]')")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    client = nbclient.NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()
    outputs = {
        cell.source: [output.data for output in cell.outputs if "data" in output]
        for cell in notebook.cells
        if cell.cell_type == "code"
    }
    shown = {source.splitlines()[-1]: data for source, data in outputs.items()}
    assert "concepts:" in shown["caption"][0]["text/html"]
    assert "image/png" in shown["explanation.plot()"][0]
    assert "gone.png" in shown["[caption.text or caption.error for caption in captions]"][0]["text/plain"]
    assert (tmp_path / "notebook" / "why" / "report.html").is_file()
