"""Runs side by side."""

import pytest
from PIL import Image

from bigbatch.errors import InputError
from bigbatch.presets import digits
from bigbatch.report import draw_error_curves, summarise
from bigbatch.runs import RunFolder


def write_run(path, errors):
    folder = RunFolder(path)
    folder.create(digits())
    for epoch, error in enumerate(errors, 1):
        folder.append_metrics({"epoch": epoch, "validation_error": error})
    result = {"validation_error": errors[-1], "weights_sha256": "ab" * 32} if errors else {}
    folder.write_summary({"status": "finished", "processes": 2, "iterations": 9, "seconds": 1.0, **result})
    return folder


def test_a_row_and_a_figure(tmp_path):
    folders = [write_run(tmp_path / "a", [50.0, 4.0, 3.0]), write_run(tmp_path / "b", [60.0, 0.0, 2.0])]
    row = summarise(folders[0])
    assert (row["minibatch"], row["workers"], row["rate"], row["error %"]) == (16, 1, digits().base_learning_rate, 3.0)
    draw_error_curves(folders, tmp_path / "figure.png")
    with Image.open(tmp_path / "figure.png") as figure:
        assert figure.width > 900
        assert len(figure.convert("RGB").getcolors(1_000_000)) > 50


def test_what_cannot_be_reported_is_refused(tmp_path):
    with pytest.raises(InputError, match="has no result yet"):
        summarise(write_run(tmp_path / "new", []))
    folder = write_run(tmp_path / "a", [5.0])
    with pytest.raises(InputError, match="cannot write the figure"):
        draw_error_curves([folder], tmp_path / "none" / "figure.png")
    with pytest.raises(InputError, match="cannot write the figure"):
        draw_error_curves([folder], tmp_path / "figure.xyz")
