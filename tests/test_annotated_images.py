"""Images with boxes: what is read, that boxes stay on what they box, and that processes and readers change no bit."""

import json
import os
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from annotated_data import IMAGES, write_coco, write_voc
from bigbatch.data.batch import batch_digest, to_device
from bigbatch.data.load import count_train_samples, known_train_samples, load_data
from bigbatch.data.loading import load_batches
from bigbatch.data.repeatable import repeated_digest
from bigbatch.data.resizing import resized
from bigbatch.processes.group import Processes
from bigbatch.processes.join import Machine
from bigbatch.recipe import Data
from bigbatch.recipe.file import to_toml, with_settings
from bigbatch.recipe.presets import digits
from bigbatch.recipe.sections import Schedule
from bigbatch.rules.sampling import Sampling, process_workers
from bigbatch.runs.folder import RunFolder
from bigbatch.training.trainer import train
from bigbatch.verification.samples import take
from bigbatch.verification.subject import build_subject
from bigbatch.verification.verify import check_computation

CPU = torch.device("cpu")
ALL = np.arange(len(IMAGES))


@pytest.fixture(params=["coco", "flat coco", "voc"])
def data(request, tmp_path):
    """Return a recipe's data of each layout."""
    if request.param == "voc":
        return Data("voc", str(write_voc(tmp_path / "voc")))
    return Data("coco", str(write_coco(tmp_path / "coco", flat=request.param == "flat coco")))


def changed(data, **fields):
    return Data(data.name, data.path, **fields)


def test_a_batch_is_a_list_of_images_of_their_own_sizes_and_a_list_of_targets(data):
    splits = load_data(data)
    images, targets = splits.train.read_batch(ALL, key=0)
    assert [tuple(image.shape) for image in images] == [(3, size[1], size[0]) for size, _ in IMAGES]
    assert all(image.dtype == torch.float32 and image.min() >= 0 and image.max() <= 1 for image in images)
    assert [len(target["boxes"]) for target in targets] == [1, 1, 0, 1]  # neither the crowd nor the difficult one
    for target in targets:
        count = len(target["boxes"])
        assert target["boxes"].shape == (count, 4)
        assert target["boxes"].dtype == target["area"].dtype == torch.float32
        assert target["labels"].dtype == target["iscrowd"].dtype == torch.int64
        assert target["labels"].shape == target["area"].shape == target["iscrowd"].shape == (count,)
        assert target["size"].tolist() == target["orig_size"].tolist()
        assert "annotations" not in target
    assert targets[0]["boxes"].tolist() == [[4, 6, 16, 16]]
    assert targets[0]["area"].tolist() == [120]
    assert (splits.num_classes, splits.in_channels) == (3, 3)


def test_labels_are_numbered_by_the_category_s_number_in_coco_and_by_its_name_in_voc(data):
    targets = load_data(data).train.read_batch(ALL, key=0)[1]
    found = [target["labels"].tolist() for target in targets]
    assert found == ([[1], [2], [], [2]] if data.name == "coco" else [[2], [2], [], [2]])


def test_the_validation_has_the_ground_truth_as_coco_has_it(data):
    splits = load_data(changed(data, short_sides=(64,)))
    targets = splits.validation.read_batch(ALL[: len(splits.validation)], key=0)[1]
    first, second = targets[0]["annotations"], targets[1]["annotations"]
    assert [one["bbox"] for one in second] == [[0, 0, 8, 12], [12, 20, 12, 16]]  # not of the resized image
    assert [one["iscrowd"] for one in second] == [0, 1]
    assert (first[0]["area"], first[0]["category_id"]) == (120, targets[0]["labels"].item())
    assert type(first[0]["bbox"]) is list


@pytest.mark.parametrize("sides", [(), (17,), (64, 90)])
def test_boxes_stay_on_what_they_box(data, sides):
    """The white pixels of an image without a left-out object are where its boxes are, however it is resized."""
    splits = load_data(changed(data, short_sides=sides, long_side=120, augmentation=("flip",)))
    for key in range(6):
        images, targets = splits.train.read_batch(np.array([0, 3]), key)
        for image, target in zip(images, targets, strict=True):
            assert target["size"].tolist() == list(image.shape[1:])
            rows, columns = (image[0] > 0.5).nonzero(as_tuple=True)
            white = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            assert torch.allclose(torch.tensor(white).float(), target["boxes"][0], atol=1)
            assert torch.allclose(target["area"].sum(), (image[0] > 0.5).sum().float(), rtol=0.2)


def test_flips_and_sizes_are_drawn_for_each_sample_and_epoch_alone(data):
    splits = load_data(changed(data, short_sides=(20, 30, 40), augmentation=("flip",)))
    found = {}
    for key in range(12):
        images, _ = splits.train.read_batch(ALL, key)
        for i in ALL.tolist():
            alone = splits.train.read_batch(np.array([i]), key)[0][0]
            assert torch.equal(alone, images[i])
            found.setdefault(i, set()).add((alone.shape, batch_digest(alone)))
    assert all(len({shape for shape, _ in seen}) == 3 for seen in found.values())
    assert len(found[0]) == 6  # three sizes, flipped or not
    first, other = (splits.validation.read_batch(ALL[:2], key)[0] for key in (0, 1))
    assert batch_digest(first) == batch_digest(other)
    assert [min(image.shape[1:]) for image in first] == [40, 40]  # the last side


@pytest.mark.parametrize("loader_workers", [0, 1])
def test_processes_and_readers_change_no_bit(data, loader_workers):
    """The workers of p processes read together what one process reads."""
    dataset = load_data(changed(data, short_sides=(20, 30), augmentation=("flip",))).train
    sampling = Sampling(len(dataset), 4, 1, seed=3)
    found = {}
    for p in (1, 2, 3):
        for rank in range(p):
            workers = process_workers(4, rank=rank, world_size=p)
            places = list(sampling.epoch(1, workers))
            reading = load_batches(dataset, places, seed=5, device=CPU, loader_workers=loader_workers, reads_again=True)
            for place, batch in zip(places, reading, strict=True):
                assert isinstance(batch[0], list)
                found.setdefault((place.iteration, place.worker), set()).add(batch_digest(batch))
    assert len(found) == 4
    assert all(len(digests) == 1 for digests in found.values())


def recipe_of(data):
    detector = with_settings(
        digits(),
        [
            *(f'data.{name}="{getattr(data, name)}"' for name in ("name", "path")),
            *('data.augmentation=["flip"]', "data.short_sides=[20, 30]", "model.name=user_detectors:one_box"),
            *("objective=user_detectors:mean_distance", 'metrics=["mean-loss"]', "name=boxes"),
            *("reference.minibatch_size=4", "minibatch_size=4", "worker_minibatch_size=1", "epochs=2"),
        ],
    )
    return replace(detector, schedule=Schedule("constant"))


def test_a_detector_has_one_hash_for_any_number_of_processes_and_readers(bigbatch, tmp_path):
    """One sample has no object, and one objects that are left out."""
    recipe = recipe_of(Data("coco", str(write_coco(tmp_path / "coco"))))
    alone = train(recipe, RunFolder(tmp_path / "1"), Machine(Processes(), CPU, 1))
    (tmp_path / "recipe.toml").write_text(to_toml(recipe))
    options = ("--processes", 3, "--loader-workers", 1, "--output", "3")
    done = bigbatch("train", "recipe.toml", *options, PYTHONPATH=os.pathsep.join(sys.path))
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "3" / "run.json").read_text())["weights_sha256"] == alone.weights_sha256


def test_a_detector_is_verified(tmp_path):
    recipe = replace(recipe_of(Data("coco", str(write_coco(tmp_path / "coco")))), worker_minibatch_size=2)
    checks = check_computation(build_subject(recipe, load_data(recipe.data), CPU))
    assert [check.text for check in checks if not check.is_passed] == []


def test_a_batch_moves_with_all_its_types_and_is_read_again_alike(data):
    splits = load_data(data)
    for dataset in (splits.train, splits.validation):
        batch = dataset.read_batch(ALL[: len(dataset)], key=1)
        moved = to_device(batch, CPU)
        assert batch_digest(moved) == batch_digest(batch) == repeated_digest(dataset, ALL[: len(dataset)], key=1)
        assert type(moved[0]) is list
        assert type(moved[1][0]) is dict


def test_a_collate_of_one_s_own_gets_images_with_their_targets(data):
    dataset = load_data(changed(data, collate="user_detectors:only_sizes")).train
    assert dataset.read_batch(ALL, key=0) == [(size[1], size[0]) for size, _ in IMAGES]


def test_training_samples_are_counted_without_decoding_an_image(data):
    assert known_train_samples(data) is None
    assert count_train_samples(data) == len(IMAGES)


def test_a_fingerprint_follows_the_annotations_and_the_images(tmp_path):
    def moved(table):
        table["annotations"][0]["bbox"][0] += 1

    first = load_data(Data("coco", str(write_coco(tmp_path / "a")))).fingerprint
    assert load_data(Data("coco", str(write_coco(tmp_path / "b")))).fingerprint == first
    assert load_data(Data("coco", str(write_coco(tmp_path / "c", moved)))).fingerprint != first
    (tmp_path / "b" / "val2017" / "0.png").write_bytes(b"1")
    assert load_data(Data("coco", str(tmp_path / "b"))).fingerprint != first


def test_some_samples_are_taken_of_lists_and_of_columns():
    images, targets = [torch.zeros(3, 4, 5)] * 3, [{"boxes": torch.zeros(3, 4)}] * 3
    found = take((images, targets), slice(1, 2), 3)
    assert [len(part) for part in found] == [1, 1]
    assert found[0][0].shape == (3, 4, 5)
    assert take([images], slice(0, 1), 1) == [images]
    columns = [torch.arange(3), torch.zeros(3, 2)]
    assert [len(part) for part in take(columns, slice(1, 2), 3)] == [1, 1]
    columns = [torch.arange(2), torch.zeros(2, 2)]
    assert [len(part) for part in take((columns, columns), slice(1, 2), 2)] == [2, 2]


@pytest.mark.parametrize("size", [(1, 1), (640, 480), (3, 4000), (4000, 3), (801, 800)])
def test_a_resized_image_keeps_its_shape_within_both_bounds(size):
    width, height = resized(*size, short_side=800, long_side=1333)
    assert min(width, height) == 800 or max(width, height) == 1333
    assert max(width, height) <= 1333
    assert abs(width / size[0] - height / size[1]) * min(size) <= 1
