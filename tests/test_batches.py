"""Any batch: collated, transformed and ordered as one likes, the same for any processes, readers and resumption."""

import collections
import dataclasses
import functools
import itertools
import os
import random
import re
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch.utils.data import ConcatDataset, DataLoader, Dataset, IterableDataset, Subset, TensorDataset, random_split
from torch.utils.data import default_collate as stack

import bigbatch
from bigbatch.data.batch import batch_digest, to_device
from bigbatch.data.dataset import MapDataset, as_batch_dataset
from bigbatch.data.fingerprint import sample_fingerprint
from bigbatch.data.load import count_train_samples, known_train_samples, load_data
from bigbatch.data.minibatches import Minibatches
from bigbatch.errors import InputError, ReaderLostError
from bigbatch.processes.group import Processes
from bigbatch.processes.join import Machine
from bigbatch.recipe import Data
from bigbatch.recipe.file import with_settings
from bigbatch.recipe.presets import digits
from bigbatch.rules.randomness.keyed import distinct, random_words
from bigbatch.runs.folder import RunFolder
from bigbatch.training.trainer import train

CPU = torch.device("cpu")
ROOT = Path(__file__).parents[1]
SIZES = {"minibatch_size": 8, "worker_minibatch_size": 4}


class Numbers(Dataset):
    """Sample i is made by a function of i."""

    def __init__(self, make=float, length=24):
        self.make, self.length = make, length

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        return self.make(index)


def batches(dataset, epochs=1, first=0, **options):
    minibatches = Minibatches(dataset, **SIZES, **options)
    return [batch for minibatch in minibatches.epochs(epochs, first=first) for batch in minibatch]


def refusal(dataset, **options):
    with pytest.raises(InputError) as error:
        batches(dataset, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


# -- collate


@pytest.mark.parametrize("loader_workers", [0, 1])
@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda i: torch.zeros(3, 8 + i % 5), ["has shape (3, ", "and sample"]),
        (lambda i: (np.zeros((1 + i % 5, 2)), 0), ["shape (", " at [0]"]),
        (lambda i: {"x": 1} if i % 2 else {"y": 1}, ["the keys x", "the keys y"]),
        (lambda i: (torch.zeros(2), {"boxes": torch.zeros(i % 4, 4)}), ["at [1]['boxes']"]),
        (lambda i: [1] * (1 + i % 5), [" values and sample"]),
        (lambda i: None, ["has None, which"]),  # noqa: ARG005 - of the sample
        (lambda i: None if i % 2 else torch.zeros(1), ["has None", "of type Tensor"]),
        (lambda i: (SimpleNamespace(i=i), 1), ["of type SimpleNamespace at [0]"]),
    ],
)
def test_samples_that_do_not_fit_together_are_refused_in_one_line_that_names_them(make, words, loader_workers):
    line = refusal(Numbers(make), loader_workers=loader_workers)
    assert all(word in line for word in [*words, "pass collate="]), line


def test_collate_makes_any_batch_and_may_draw():
    def collate(samples):
        return {"images": samples, "share": torch.rand(())}

    found = batches(Numbers(lambda i: torch.full((1 + i % 3,), i)), collate=collate)
    assert all(len(batch["images"]) == 4 for batch in found)
    assert len({batch["share"].item() for batch in found}) == len(found)
    assert [b["share"] for b in batches(Numbers(), collate=collate, loader_workers=2)] == [b["share"] for b in found]
    assert "collate returned None" in refusal(Numbers(), collate=lambda samples: None)  # noqa: ARG005


class Pair(NamedTuple):
    first: object
    second: object


@dataclasses.dataclass(frozen=True)
class Boxes:
    corners: torch.Tensor
    names: list


class Encoding(collections.UserDict):
    """As in transformers: a dictionary with a method `to`."""

    def to(self, device):
        return Encoding({key: value.to(device) for key, value in self.items()})


def test_moving_a_batch_keeps_every_type():
    tensor = torch.arange(3)
    batch = [
        Pair(tensor, (tensor, "a")),
        Boxes(tensor, ["b"]),
        Encoding(ids=tensor),
        collections.OrderedDict(x=tensor, y=None),
        collections.UserDict(z=tensor),
        np.arange(3.0),
        torch.nn.utils.rnn.pack_sequence([tensor]),
        3,
    ]
    moved = to_device(batch, torch.device("meta"))
    assert [type(part) for part in moved[:5]] == [type(part) for part in batch[:5]]
    pair, boxes, encoding, ordered, user, array, packed, number = moved
    for place in (pair.first, pair.second[0], boxes.corners, encoding["ids"], ordered["x"], user["z"], array):
        assert place.device.type == "meta"
    assert packed.data.device.type == "meta"
    assert (pair.second[1], boxes.names, ordered["y"], number) == ("a", ["b"], None, 3)
    assert batch[1].corners is tensor
    assert tensor.device.type == "cpu"


def test_a_dataset_that_is_read_in_batches_takes_no_collate():
    dataset = SimpleNamespace(read_batch=lambda indices, key: indices)  # noqa: ARG005
    assert "has no len()" in refusal(dataset)
    assert "leave it out" in refusal(InBatches(), collate=list)


class InBatches:
    def __len__(self):
        return 24

    def read_batch(self, indices, key):
        del key
        return torch.from_numpy(indices).float() + torch.rand(len(indices))


class InBlocks:
    """Its method has the older name."""

    def __init__(self):
        self.read_block = InBatches().read_batch

    __len__ = InBatches.__len__


class WrongRead(InBatches):
    def read_batch(self, index):
        return index


def test_read_block_is_the_older_name_of_read_batch_and_both_may_draw():
    first, again = batches(InBatches()), batches(InBlocks(), loader_workers=1)
    assert torch.equal(torch.stack(first), torch.stack(again))
    assert "read_batch of the data must take (indices, key)" in refusal(WrongRead())


# -- randomness


def test_a_transform_is_keyed_to_seed_epoch_iteration_and_worker():
    def transform(batch, generator):
        return torch.cat([batch, torch.rand(1, generator=generator), torch.rand(1)])

    whole = torch.stack(batches(Numbers(), epochs=3, transform=transform))
    drawn = whole[:, -2:].flatten().tolist()
    assert len(set(drawn)) == len(drawn) == 36
    for first in range(9):
        assert torch.equal(torch.stack(batches(Numbers(), 3, first, transform=transform)), whole[2 * first :])
    other = torch.stack(batches(Numbers(), epochs=3, transform=transform, augmentation_seed=1))
    assert not set(drawn) & set(other[:, -2:].flatten().tolist())
    assert "transform returned None" in refusal(Numbers(), transform=lambda batch, generator: None)  # noqa: ARG005


@pytest.mark.parametrize("dataset", [Numbers(), InBatches()])
def test_what_a_loop_draws_for_a_batch_does_not_depend_on_readers(dataset):
    def draw(loader_workers, eagerly):
        found = []
        for minibatch in Minibatches(dataset, **SIZES, loader_workers=loader_workers).epochs(2):
            drawn = ((torch.rand(()).item(), np.random.rand(), random.random()) for _ in minibatch)  # noqa: NPY002
            found += list(drawn) if eagerly else itertools.islice(drawn, None)
            torch.manual_seed(len(found))  # whatever the loop does between
        return found

    first = draw(0, eagerly=False)
    assert len(set(first)) == len(first) == 12
    assert draw(1, eagerly=True) == draw(2, eagerly=False) == first


def test_weights_do_not_depend_on_processes_or_readers_whatever_is_drawn(group, tmp_path):
    for world_size, readers in ((1, 0), (2, 1), (3, 0)):
        group("batch_loop.py", world_size, tmp_path / f"{world_size}", readers)
    assert len({path.read_text() for path in tmp_path.glob("[123]")}) == 1


class Jitter:
    """A transform with a generator of its own."""

    def __init__(self, generator, chance=1.0):
        self.generator, self.chance = generator, chance

    def __call__(self, sample):
        match self.generator:
            case torch.Generator():
                drawn = torch.rand((), generator=self.generator).item()
            case np.random.Generator() | random.Random():
                drawn = self.generator.random()
            case _:
                drawn = self.generator.rand()
        return sample + (drawn if drawn < self.chance else 0.0)


class Transformed(Numbers):
    def __init__(self, transform):
        super().__init__()
        self.transform = transform

    def __getitem__(self, index):
        return self.transform(float(index))


class Compose:
    def __init__(self, *transforms):
        self.transforms = list(transforms)

    def __call__(self, sample):
        return functools.reduce(lambda value, transform: transform(value), self.transforms, sample)


@pytest.mark.parametrize("chance", [1.0, 0.0])
@pytest.mark.parametrize(
    "generator",
    [np.random.default_rng(0), np.random.RandomState(0), torch.Generator(), random.Random(0), random.SystemRandom()],
)
def test_a_generator_of_the_datasets_own_is_found_and_named_wherever_it_hides(generator, chance):
    """Also if none of the samples that are read again has changed: its state has."""
    jitter = Jitter(generator, chance)
    assert "data.transform.generator" in refusal(Transformed(jitter))
    assert "data.transform.transforms[1].generator" in refusal(Transformed(Compose(abs, jitter)))
    assert "data.dataset.transform.generator" in refusal(Subset(Transformed(jitter), range(20)))
    assert "data.datasets[0].transform.generator" in refusal(ConcatDataset([Transformed(jitter)]), loader_workers=1)
    assert "data.transform.jitter.generator" in refusal(Transformed(lambda sample: abs(jitter(sample))))
    assert "data.transform.args[0].generator" in refusal(Transformed(functools.partial(Jitter.__call__, jitter)))
    assert "transform.jitter.generator" in refusal(Numbers(), transform=lambda batch, _: jitter(batch))
    assert "collate" in refusal(Numbers(), collate=lambda samples: [jitter(sample) for sample in samples])


def test_what_a_sample_draws_from_elsewhere_is_refused():
    assert "differs when it is read again" in refusal(Numbers(lambda i: i + os.urandom(1)[0] / 7))
    counter = itertools.count()
    assert "differs when it is read again" in refusal(Numbers(lambda i: i + next(counter)))


def test_generators_that_are_seeded_for_each_sample_or_only_used_at_first_are_right():
    class Seeded(Numbers):
        def __getitem__(self, index):
            self.own = np.random.default_rng(index)
            self.torchs = torch.Generator().manual_seed(index)
            return self.own.random() + torch.rand((), generator=self.torchs).item()

    dataset = Seeded()
    dataset.unused = random.Random(1)
    assert len(batches(dataset)) == 6
    assert len(batches(Numbers(lambda i: i + random.random() + torch.rand(()).item()))) == 6


# -- order


def test_an_order_is_a_function_of_the_epoch_and_may_draw():
    def weighted(epoch):
        return torch.multinomial(torch.arange(24.0) + epoch, 17, replacement=True)

    whole = batches(Numbers(int), epochs=3, order=weighted, seed=5)
    assert len(whole) == 12
    assert len({tuple(batch.tolist()) for batch in whole}) == 12
    for first in (0, 3, 5):
        rest = batches(Numbers(int), 3, first, order=weighted, seed=5)
        assert [b.tolist() for b in rest] == [b.tolist() for b in whole[2 * first :]]
    other = batches(Numbers(int), epochs=3, order=weighted, seed=6)
    assert [b.tolist() for b in other] != [b.tolist() for b in whole]
    sampler = torch.utils.data.WeightedRandomSampler([1.0] * 24, 16)
    assert len(batches(Numbers(), order=lambda epoch: list(sampler))) == 4  # noqa: ARG005


def test_a_sample_that_an_order_repeats_is_augmented_anew():
    def order(epoch):
        del epoch
        return [7] * 16

    noisy = Numbers(lambda i: i + torch.rand(()).item())
    values = torch.stack(batches(noisy, epochs=2, order=order)).flatten().tolist()
    assert len(set(values)) == len(values) == 32


def test_first_copies_keep_their_words():
    samples = np.array([5, 9, 5, 5, 9, 2])
    words = random_words(3, distinct(samples))
    assert len(np.unique(words)) == 6
    plain = random_words(3, samples)
    assert (words[[0, 1, 5]] == plain[[0, 1, 5]]).all()
    assert distinct(np.arange(5)).tolist() == list(range(5))


@pytest.mark.parametrize(
    ("order", "words"),
    [
        (torch.utils.data.RandomSampler(range(24)), "write order=lambda epoch: list(sampler) for a RandomSampler"),
        (torch.utils.data.WeightedRandomSampler([1.0] * 24, 24), "for a WeightedRandomSampler"),
        (list(range(24)), "for a list"),
        (3, "not int"),
        (lambda: [1], "too many positional arguments"),
        (lambda epoch: [0.5] * 9, "array of float64"),  # noqa: ARG005
        (lambda epoch: None, "array of object"),  # noqa: ARG005
        (lambda epoch: [], "shape (0,)"),  # noqa: ARG005
        (lambda epoch: [[0, 1]] * 8, "shape (8, 2)"),  # noqa: ARG005
        (lambda epoch: [0] * 11 + [24], "order(0)[11] is 24, but the samples are 0 to 23"),  # noqa: ARG005
        (lambda epoch: [-1] * 12, "order(0)[0] is -1"),  # noqa: ARG005
        (lambda epoch: range(8 + 8 * epoch), "order(1) has 16 samples, but order(0) has 8"),
        (lambda epoch: range(7), "minibatch_size 8 is larger than the data set of 7"),  # noqa: ARG005
        (lambda epoch, generator=np.random.default_rng(): generator.permutation(24), "differs when it is called"),  # noqa: ARG005, B008
    ],
)
def test_orders_that_cannot_be_right_are_refused(order, words):
    assert words in refusal(Numbers(), order=order, epochs=2)


# -- what is no dataset


class Stream(IterableDataset):
    def __iter__(self):
        yield from range(64)


class StreamWithLength(Stream):
    def __len__(self):
        return 64


class NoSamples(Dataset):
    def __len__(self):
        return 24


class NoLength(Dataset):
    def __getitem__(self, index):
        return index


class BadLength(NoLength):
    def __len__(self):
        raise NotImplementedError


class Iterable:
    def __iter__(self):
        return iter(range(9))

    def __len__(self):
        return 9


REFUSED = [
    (Stream(), "is a stream (Stream)"),
    (StreamWithLength(), "is a stream (StreamWithLength)"),
    ((i for i in range(64)), "is a stream (generator)"),
    (iter(range(64)), "is a stream (range_iterator)"),
    (Iterable(), "is a stream (Iterable)"),
    (DataLoader(range(64)), "is a DataLoader; give the dataset itself"),
    (torch.utils.data.SequentialSampler(range(9)), "is a SequentialSampler"),
    ({"train": range(64), "test": range(64)}, "is a table with the keys train, test"),
    (NoLength(), "(NoLength) has no len()"),
    (BadLength(), "(BadLength) has no len() that can be used"),
    (NoSamples(), "(NoSamples) has no samples by number"),
    ([], "(list) is empty"),
    (Numbers(length=0), "(Numbers) is empty"),
    (None, "(NoneType) has no len()"),
    (7, "(int) has no len()"),
]


@pytest.mark.parametrize(("dataset", "words"), REFUSED)
def test_what_is_no_dataset_is_refused_in_one_line(dataset, words, monkeypatch):
    assert words in refusal(dataset)
    good = Numbers(lambda i: (torch.zeros(2), i))
    for made, part in (((dataset, good), "training"), ((good, dataset), "validation")):
        monkeypatch.setattr("statistics.data", lambda made=made: made, raising=False)
        with pytest.raises(InputError) as error:
            load_data(Data("statistics:data"))
        assert str(error.value).startswith(f"the {part} data of 'statistics:data' ")
        assert words in str(error.value)


@pytest.mark.parametrize("loader_workers", [0, 1])
def test_a_length_that_is_too_large_is_noticed(loader_workers):
    line = refusal(Numbers([1.0, 2.0].__getitem__), loader_workers=loader_workers)
    assert "cannot be read (IndexError: list index out of range), but len() is 24" in line


class Table:
    """As Hugging Face's datasets: rows by number, columns by lists of numbers."""

    def __len__(self):
        return 24

    def __getitem__(self, key):
        if isinstance(key, int):
            return {"x": float(key)}
        return {"x": [float(i) for i in key]}

    def __getitems__(self, keys):
        return [self[key] for key in keys]


@pytest.mark.parametrize(
    "dataset",
    [
        [{"x": float(i)} for i in range(24)],
        Table(),
        Subset(Table(), range(24)),
        random_split(Table(), [24])[0],
    ],
)
def test_usual_datasets_work(dataset):
    assert sorted(torch.cat([batch["x"] for batch in batches(dataset)]).tolist()) == [float(i) for i in range(24)]


def test_tensor_datasets_and_arrays_work():
    values = torch.arange(24.0)
    for dataset in (TensorDataset(values, values), values, values.numpy(), range(24)):
        found = batches(dataset)
        flat = torch.cat([batch[0] if isinstance(dataset, TensorDataset) else batch for batch in found])
        assert sorted(flat.tolist()) == values.tolist()


def test_a_dataset_hears_which_epoch_it_is():
    class Hears(Numbers):
        def set_epoch(self, epoch):
            self.make = lambda index: 100 * epoch + index

    for loader_workers in (0, 1):
        found = torch.stack(batches(Hears(), epochs=3, first=4, loader_workers=loader_workers))
        assert (found[:4] // 100).unique().tolist() == [1]
        assert (found[4:] // 100).unique().tolist() == [2]


# -- readers


class Ends(Numbers):
    def __init__(self, end):
        super().__init__(lambda i: end() if i == 5 else float(i))


@pytest.mark.parametrize(
    ("end", "words"),
    [
        (lambda: os.kill(os.getpid(), signal.SIGKILL), "was ended by SIGKILL; memory has often run out then"),
        (lambda: os._exit(3), "has ended"),
    ],
)
def test_the_end_of_a_reader_is_one_line(end, words, capfd):
    with pytest.raises(ReaderLostError, match=words):
        batches(Ends(end), loader_workers=1)
    assert "Traceback" not in capfd.readouterr().err


def test_a_batch_that_cannot_be_handed_over_is_refused_and_does_not_hang():
    line = refusal(Numbers(), collate=lambda samples: [lambda: samples], loader_workers=1)
    assert "a batch cannot come from another process" in line


@pytest.mark.parametrize("place", ["torch.Tensor.share_memory_", "bigbatch.data.collation.default_collate"])
def test_a_small_shared_memory_is_one_line(monkeypatch, place):
    full = RuntimeError("unable to allocate shared memory(shm) for file </torch_1>: No space left on device (28)")

    def fail(_tensor):
        raise full

    monkeypatch.setattr(place, fail)
    line = refusal(Numbers(), loader_workers=1)
    assert line.startswith("/dev/shm has ")  # noqa: S108
    assert "MiB" in line
    assert "--loader-workers" in line
    assert "loader_workers=0" in line


# -- recipes


class Records(Numbers):
    """Nested samples of every type, some of which nobody can stack."""

    def __init__(self, length=24):
        super().__init__(length=length)

    def __getitem__(self, index):
        array = np.arange(3000) + index
        return {"x": torch.full((3, 2), index), "of": Boxes(torch.zeros(1), ["a"]), "none": None, "array": array}


class Noisy(Records):
    """Changes a number that the text of an array does not show."""

    def __getitem__(self, index):
        sample = super().__getitem__(index)
        sample["array"][1500] = os.urandom(1)[0]
        return sample


def as_list(samples):
    return samples


def set_data(monkeypatch, make, **names):
    for name, value in {"data": make, **names}.items():
        monkeypatch.setattr(f"statistics.{name}", value, raising=False)


def test_a_recipe_takes_nested_samples_with_collate_transform_and_order(monkeypatch):
    set_data(monkeypatch, lambda: (Records(), Records(9)), collate=as_list, order=lambda epoch: [epoch] * 10)
    recipe = Data("statistics:data", collate="statistics:collate", order="statistics:order")
    assert recipe.user_code == ("statistics:data", "statistics:collate", "statistics:order")
    splits = load_data(recipe)
    assert len(splits.validation.read_batch(np.arange(3), 0)) == 3
    assert (splits.samples_per_epoch, count_train_samples(recipe), known_train_samples(recipe)) == (10, 10, None)
    again = load_data(recipe)
    assert again.fingerprint == splits.fingerprint
    set_data(monkeypatch, lambda: (Noisy(), Records(9)))
    with pytest.raises(InputError, match="differs when it is read again"):
        load_data(recipe)
    set_data(monkeypatch, lambda: (Records(), Records(9)))
    with pytest.raises(InputError, match="pass collate="):
        load_data(Data("statistics:data"))


def test_a_recipe_takes_data_that_is_read_in_batches(monkeypatch):
    set_data(monkeypatch, lambda: (InBatches(), InBlocks()))
    splits = load_data(Data("statistics:data"))
    assert (splits.in_channels, splits.num_classes, len(splits.train)) == (0, 0, 24)


def test_built_in_data_is_collated_anew(monkeypatch):
    set_data(monkeypatch, None, collate=lambda samples: {"image": torch.stack([image for image, _ in samples])})
    for split in (splits := load_data(Data("digits", collate="statistics:collate"))).train, splits.validation:
        assert split.read_batch(np.arange(5), 0)["image"].shape == (5, 1, 8, 8)
    plain = load_data(Data("digits")).train.read_batch(np.arange(5), 0)[0]
    assert torch.equal(splits.train.read_batch(np.arange(5), 0)["image"], plain)


@pytest.mark.parametrize("field", ["collate", "transform", "order"])
def test_names_that_are_no_user_code_are_refused(field):
    with pytest.raises(InputError, match=f"data.{field} must be package.module:callable, not 'mixup'"):
        Data("digits", **{field: "mixup"})


def test_the_number_of_a_presets_samples_is_not_that_of_a_folder_of_ones_own():
    preset = Data("image-folder", num_train_samples=1_281_167)
    assert known_train_samples(preset) == count_train_samples(preset) == 1_281_167
    assert known_train_samples(dataclasses.replace(preset, path="mine")) is None


def scaled(batch, generator):
    images, labels = batch
    return images * (0.5 + torch.rand(len(images), 1, 1, 1, generator=generator)), labels


def drawn(epoch):
    return torch.multinomial(torch.arange(1280.0) + epoch, 256, replacement=True)


def test_a_training_with_all_of_it_is_resumed_anywhere_with_the_same_bits(monkeypatch, tmp_path):
    set_data(monkeypatch, None, collate=stack, transform=scaled, order=drawn)
    names = [f"data.{name}=statistics:{name}" for name in ("collate", "transform", "order")]
    recipe = with_settings(digits(), [*names, "minibatch_size=64", "worker_minibatch_size=32", "epochs=2"])
    machine = Machine(Processes(), CPU, 1)
    whole = train(recipe, RunFolder(tmp_path / "whole"), machine)
    assert (whole.status, whole.iterations) == ("finished", 8)
    parts = RunFolder(tmp_path / "parts")
    for stop in (1, 6, None):
        part = train(recipe, parts, machine, stop_after_iteration=stop)
    assert part.weights_sha256 == whole.weights_sha256
    plain = with_settings(recipe, ["data.transform="])
    assert train(plain, RunFolder(tmp_path / "plain"), machine).weights_sha256 != whole.weights_sha256


def test_the_examples_of_the_document_run(capsys):
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "data.md").read_text(), re.DOTALL)
    dataset = [(torch.zeros(3, 2, 2), i % 3) for i in range(512)]
    given = {"torch": torch, "bigbatch": bigbatch, "dataset": dataset, "weights": torch.ones(512)}
    for block in blocks:
        exec(block, given)  # noqa: S102 - the document's own code
        assert len([batch for minibatch in given["minibatches"].epochs(1) for batch in minibatch]) in {16, 312}
    assert len(blocks) == 2
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("dataset", [Stream(), {"test": range(3)}, DataLoader(range(3)), []])
def test_data_to_evaluate_is_refused_alike(dataset):
    with pytest.raises(InputError, match="the validation data "):
        bigbatch.evaluate(torch.nn.Linear(1, 1), dataset)


def test_a_digest_is_of_the_content_alone():
    samples = [Records()[3], Records()[3]]
    assert batch_digest(samples[0]) == batch_digest(samples[1])
    for other in (Records()[4], {**samples[0], "none": 0}, {**samples[0], "of": Boxes(torch.zeros(1), ["b"])}):
        assert batch_digest(other) != batch_digest(samples[0])
    half = torch.arange(4).bfloat16()
    assert batch_digest(half) != batch_digest(half + 1)
    assert batch_digest(half.to_sparse()) == batch_digest(half)
    assert batch_digest(half[1::3]) == batch_digest(half[1:2].clone())  # a single element has any stride
    assert len(batch_digest(torch.zeros(0, 4))) == len(batch_digest(half))  # boxes of an image without objects


def test_the_fingerprint_of_plain_samples_is_pinned():
    """Runs of before are resumed on the same data."""
    samples = [(torch.full((2, 3), float(i)), i, {"name": f"n{i}"}) for i in range(40)]
    found = sample_fingerprint(MapDataset(samples), as_batch_dataset(samples[:7]))
    assert found == "0a454d47252a4fd7cedb5c40c01e289a4c4b653b47570df837d1765d4a628fea"
