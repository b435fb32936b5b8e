"""`bench input` beside torchvision: on a folder, and on a pack beside the folder that it was made of."""

from bigbatch.cli import main
from photographs import measured, recipe_of, write_photographs


def test_torchvision_takes_turns(tmp_path, capsys):
    folder = write_photographs(tmp_path / "photographs")
    assert main(["pack", str(folder), str(tmp_path / "pack"), "--pixels", "--short-side", "20"]) == 0
    capsys.readouterr()
    for words in (recipe_of(folder), (*recipe_of(tmp_path / "pack"), "--beside", str(folder))):
        result = measured(capsys, *words)
        assert list(result["torchvision"]) == list(result["stages"]) == list(result["ratios"])
        assert all(ratio > 0 for ratio in result["ratios"].values())
        assert result["not_compared"] == ""
    assert "name the folder that they were made of" in measured(capsys, *recipe_of(tmp_path / "pack"))["not_compared"]
