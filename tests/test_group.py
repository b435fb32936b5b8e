"""Laws that need real processes."""

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAMS = Path(__file__).parent / "programs"


@pytest.mark.parametrize("world_size", [2, 3, 4, 5])
def test_every_exact_all_reduce_equals_the_tree_over_one_process(group, world_size):
    group("all_reduce_law.py", world_size)


@pytest.mark.parametrize("world_size", [2, 3])
def test_a_step_has_the_bits_of_one_process_however_its_sum_travels(group, world_size):
    group("step_law.py", world_size)


@pytest.mark.parametrize("world_size", [2, 3])
def test_every_normalisation_has_the_bits_of_one_process_with_ragged_and_empty_workers(group, world_size):
    group("objective_law.py", world_size)


@pytest.mark.parametrize("world_size", [2, 3])
def test_evaluation_is_that_of_one_process_and_counts_every_sample_once(group, world_size):
    group("evaluation_law.py", world_size)


def test_processes_that_differ_are_refused_by_all_and_told_why(group):
    group("agreement_law.py", 3)


def test_a_loop_of_ones_own_gives_the_same_bits_for_any_number_of_processes(group, tmp_path: Path):
    subprocess.run([sys.executable, PROGRAMS / "library_loop.py", tmp_path / "1"], check=True)
    for world_size in (2, 3, 7):
        group("library_loop.py", world_size, tmp_path / str(world_size))
    assert len({(tmp_path / name).read_text() for name in ("1", "2", "3", "7")}) == 1


def test_the_loop_of_the_readme_gives_the_same_bits_and_result_for_any_number_of_processes(group, tmp_path: Path):
    subprocess.run([sys.executable, PROGRAMS / "readme_loop.py", tmp_path / "1"], check=True)
    for world_size in (2, 3):
        group("readme_loop.py", world_size, tmp_path / str(world_size))
    assert len({(tmp_path / name).read_text() for name in ("1", "2", "3")}) == 1


def test_a_loop_that_fails_in_one_process_ends_in_all_of_them(group, tmp_path: Path):
    group("readme_loop.py", 2, tmp_path / "never", "--fail")
    assert not (tmp_path / "never").exists()
