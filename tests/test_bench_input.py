"""`bench input`: every stage is timed on the same samples, and what cannot be compared is said."""

from bigbatch.cli import main
from photographs import measured, recipe_of, write_photographs


def test_any_data_is_timed(capsys):
    result = measured(capsys, "digits", "--loader-workers", "0")
    assert list(result["stages"]) == ["read a batch"]
    assert result["stages"]["read a batch"]["least"] <= result["stages"]["read a batch"]["median"]
    assert result["handed_over_per_second"] > 0
    assert result["torchvision"] == {}
    assert result["decoder"] == ""
    assert "image-folder" in result["not_compared"]


def test_photographs_are_timed_stage_by_stage(tmp_path, capsys):
    folder = write_photographs(tmp_path / "photographs")
    assert main(["pack", str(folder), str(tmp_path / "pack"), "--pixels", "--short-side", "20"]) == 0
    capsys.readouterr()
    for path in (folder, tmp_path / "pack"):
        result = measured(capsys, *recipe_of(path))
        assert list(result["stages"]) == ["decode", "decode, crop, flip", "decode, crop, flip, normalise"]
        assert all(rates["median"] > 0 for rates in result["stages"].values())
    assert main(["bench", "input", *recipe_of(folder), "--rounds", "1", "--samples", "3"]) == 0
    said = capsys.readouterr().out
    assert "decode, crop, flip" in said
    assert "1 reader handed over" in said
    assert "decoded by Pillow " in said


def test_what_cannot_be_read_is_said_in_a_line(tmp_path, capsys):
    assert main(["bench", "input", "imagenette"]) == 2
    assert "this data needs a folder" in capsys.readouterr().err
    assert main(["bench", "input", "imagenette", "--set", f"data.path={tmp_path}"]) == 2
    assert "has no folder train/" in capsys.readouterr().err
