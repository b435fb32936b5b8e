"""A run's folder."""

import json
import os
from dataclasses import replace
from importlib.metadata import version

import pytest

from bigbatch.errors import InputError
from bigbatch.recipe.presets import digits
from bigbatch.runs.code_version import library_versions
from bigbatch.runs.folder import RunFolder, default_folder, run_result
from bigbatch.runs.metrics import read_line
from bigbatch.runs.provenance import describe_host, git_state, installed_versions
from bigbatch.runs.summary import Summary


def test_a_new_folder_is_made_and_holds_the_recipe(tmp_path):
    folder = RunFolder(tmp_path / "a" / "b")
    folder.check(digits(), resume=False)
    assert not folder.path.exists()
    folder.create(digits())
    assert RunFolder(folder.path).recipe == digits()
    assert folder.checkpoints.is_dir()
    assert {path.name for path in folder.path.iterdir()} == {"recipe.toml", "checkpoints"}
    folder.create(digits())
    with pytest.raises(InputError, match="the recipe differs in seed: 0 -> 1"):
        folder.create(replace(digits(), seed=1))  # as a second run that was started at the same time would


def test_folders_that_must_not_be_written_are_refused_and_nothing_changes(tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.create(digits())
    before = (folder.path / "recipe.toml").read_bytes()
    other = replace(digits(), minibatch_size=256)
    for recipe, resume, message in [
        (digits(), False, "already holds this run; add --resume"),
        (other, False, "holds another recipe's run: the recipe differs in minibatch_size: 16 -> 256"),
        (other, True, "cannot resume: the recipe differs in minibatch_size: 16 -> 256"),
    ]:
        with pytest.raises(InputError, match=message):
            RunFolder(folder.path).check(recipe, resume=resume)
    RunFolder(folder.path).check(digits(), resume=True)
    assert (folder.path / "recipe.toml").read_bytes() == before
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.doc").touch()
    with pytest.raises(InputError, match="is not empty and holds no run"):
        RunFolder(tmp_path / "other").check(digits(), resume=True)
    with pytest.raises(InputError, match="is a file"):
        RunFolder(tmp_path / "other" / "thesis.doc").check(digits(), resume=False)
    with pytest.raises(InputError, match="cannot write the run to"):
        RunFolder(tmp_path / "other" / "thesis.doc" / "run").create(digits())


def test_the_default_folder_never_takes_a_used_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first = default_folder(digits(), resume=False)
    assert str(first) == "runs/digits-16-seed0"
    first.mkdir(parents=True)
    assert str(default_folder(digits(), resume=False)) == "runs/digits-16-seed0-2"
    assert default_folder(digits(), resume=True) == first
    default_folder(digits(), resume=False).mkdir()
    assert str(default_folder(digits(), resume=False)) == "runs/digits-16-seed0-3"
    assert str(default_folder(digits(), resume=True)) == "runs/digits-16-seed0-2"


def append(folder, *lines):
    folder.append_metrics(*map(read_line, lines))


def test_metrics_survive_a_killed_writer_and_repeated_epochs(tmp_path):
    folder = RunFolder(tmp_path)
    assert folder.read_epochs() == []
    append(folder, {"iteration": 0, "loss": 1.0}, {"epoch": 1, "validation_error": 9.0})
    append(folder, {"epoch": 2, "validation_error": 8.0})
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 3, "valid')
    append(folder, {"epoch": 2, "validation_error": 7.0})
    assert [(line.epoch, line.result) for line in folder.read_epochs()] == [(1, 9.0), (2, 7.0)]


def test_of_an_iteration_that_was_repeated_the_last_line_counts(tmp_path):
    folder = RunFolder(tmp_path)
    assert folder.read_iterations() == []
    append(folder, {"iteration": 0, "loss": 1.0}, {"iteration": 1, "loss": None, "skipped": True})
    append(folder, {"epoch": 1, "iteration": 2, "loss": 1.0, "validation_error": 9.0})
    append(folder, {"iteration": 2, "loss": 5.0}, {"iteration": 1, "loss": 4.0})
    assert [(line.iteration, line.loss) for line in folder.read_iterations()] == [(0, 1.0), (1, 4.0), (2, 5.0)]


def test_metrics_that_are_no_tables_or_no_text_are_passed_over(tmp_path):
    lines = [b"7", b"[]", b'"validation_error"', b"\xff\xfe", b"[" * 100_000, b"null"]
    lines += [b'{"epoch": "1", "validation_error": 1}', b'{"iteration": [], "loss": 1}', b'{"validation_error": 1}']
    (tmp_path / "metrics.jsonl").write_bytes(b"\n".join([*lines, b'{"iteration": 3, "loss": NaN}']))
    assert RunFolder(tmp_path).read_epochs() == []
    assert [line.iteration for line in RunFolder(tmp_path).read_iterations()] == [3]


def test_the_error_of_a_run_is_the_median_of_its_last_five_epochs():
    assert run_result([99.0, 99.0, 5.0, 1.0, 4.0, 2.0, 3.0]) == 3.0
    assert run_result([4.0]) == 4.0


def test_run_json_says_what_a_result_might_be_asked_about(tmp_path):
    folder = RunFolder(tmp_path)
    folder.write_summary(Summary.read({"versions": installed_versions(), "git": git_state(), "host": describe_host()}))
    summary = json.loads((tmp_path / "run.json").read_text())
    assert summary["versions"].keys() == {"python", "bigbatch", "torch", "numpy"}
    assert summary["git"].keys() == {"commit", "dirty"}
    assert folder.read_summary().to_json() == summary
    for damaged in (b"{", b"[]", b"7", b"\xff", b"[" * 100_000):
        (tmp_path / "run.json").write_bytes(damaged)
        with pytest.raises(InputError, match="is damaged"):
            folder.read_summary()
    with pytest.raises(InputError, match="holds no run"):
        RunFolder(tmp_path / "none").read_summary()


def test_the_libraries_that_a_recipe_names_are_recorded_with_their_versions():
    recipe = digits()
    assert library_versions(recipe) == {}
    named = (
        replace(recipe.model, name="timm/resnet18", width=0),
        replace(recipe.data, tokenizer="folder/tokenizer.json"),
    )
    recipe = replace(recipe, model=named[0], data=named[1], optimizer=replace(recipe.optimizer, name="scipy.x:Y"))
    found = library_versions(recipe)
    assert found["scipy"] == version("scipy")
    assert set(found) <= {"scipy", "timm", "tokenizers"}  # these two are not installed everywhere
    for name in ("torch.optim:RMSprop", "bigbatch.optim.lars:LARS", "my_own_module:Optimizer", "json:loads"):
        recipe = replace(digits(), optimizer=replace(recipe.optimizer, name=name))
        assert library_versions(recipe) == {}
    recipe = replace(digits(), optimizer=replace(recipe.optimizer, name="PIL.Image:open"))
    assert library_versions(recipe) == {"PIL": version("pillow")}


def test_a_pipe_is_not_waited_for(tmp_path):
    for name in ("run.json", "metrics.jsonl"):
        os.mkfifo(tmp_path / name)
    with pytest.raises(InputError, match="is no file"):
        RunFolder(tmp_path).read_summary()
    assert RunFolder(tmp_path).read_epochs() == []
