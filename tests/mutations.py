"""Broken recipes and command lines, drawn from a seed: as from a typo, a bad merge, a broken tool or an attacker."""

import random
from collections.abc import Callable, Iterator
from typing import Final

from bigbatch.recipe.file import to_toml
from bigbatch.recipe.presets import PRESETS

Mutation = Callable[[random.Random, str], str | bytes]

VALUES: Final = (
    *("1e308", "-1e308", "5e-324", "-0.0", "0", "-1", "nan", "-inf", "inf", f"{2**31}", f"{2**62}", f"{2**63}"),
    *(f"{2**70}", "0x" + "f" * 5_000, "9" * 5_000, "1e99999", "0.1.2", "1_000", "0b11", "true", "false", '""', "''"),
    *("[]", "{}", "[[]]", "[1, 'a', {}]", "{a = {b = 1}}", "1979-05-27", "07:32:00", "1979-05-27T07:32:00Z"),
    *('"a\\u0000b"', '"\\u001b[31mred"', '"two\\nlines"', '"\\u202egnp"', '"\\U0010ffff"', '"Ünï ☃ 🤖"', "'../../etc'"),
    *('"os:system"', '"a:b:c"', '":"', '"a.b:"', '"cifar-resnet99999999999"', '"cifar-resnet' + "9" * 5_000 + '"'),
    *(f'"{"x" * 20_000}"', f'"{"/x" * 3_000}"', "[" * 3_000, "{a=" * 3_000, "[" * 200 + "]" * 200, '"', "'''", "\\"),
    *(f"[{', '.join(map(str, range(5_000)))}]", f"[{'1e300, ' * 2_000}]", "{" + "a." * 3_000 + "a = 1}", "{a = " * 90),
    *("{a = " * 90 + "1" + "}" * 90, "[1.0, 2.0, 1e308]", "[nan]", "[-1.0]", "[true]", "linear", "", " ", "\t", "\0"),
)
NUMBERS: Final = (
    *("0", "-1", "1", "16", "256", "1280", "abc", "", "1e3", "0x10", "16.0", "\uff11\uff16", " 16", "nan", "-0"),
    *(f"{2**31}", f"{2**62}", f"{2**70}", "9" * 400, "9" * 5_000, "1,2", "=", "--", "\x1b[31m", "\udcff"),
)
STRINGS: Final = (
    *("\0", "\x1b[2J", "\x07", "\x85", "\u202e", "\u2028", "\ufeff", "\r", "é", "🤖", "="),
    *"[]{}.,#'\"\\",
)
SECTIONS: Final = ("reference", "model", "data", "scaling", "warmup", "schedule", "optimizer", "launch", "checkpoints")


def mutated_recipes(count: int, *, seed: int = 0) -> Iterator[tuple[str, bytes]]:
    """Yield (name of the mutation, bytes of the file): every mutation of every preset in turn, sometimes two."""
    generator = random.Random(seed)
    texts = [to_toml(preset()) for preset in PRESETS.values()]
    for i in range(count):
        mutation = RECIPE_MUTATIONS[i % len(RECIPE_MUTATIONS)]
        content = mutation(generator, texts[i // len(RECIPE_MUTATIONS) % len(texts)])
        name = mutation.__name__
        if isinstance(content, str) and generator.random() < 0.3:
            second = generator.choice(RECIPE_MUTATIONS)
            content, name = second(generator, content), f"{name} and {second.__name__}"
        yield name, content.encode(errors="surrogatepass") if isinstance(content, str) else content


def mutated_command_lines(count: int, *, seed: int = 0) -> Iterator[list[str]]:
    """Yield the arguments of `bigbatch plan`, and sometimes of something that is no command."""
    generator = random.Random(seed)
    for i in range(count):
        arguments = ["plan", generator.choice(["digits", "fashion-mnist", "imagenet-resnet50"])]
        for _ in range(1 + i % 3):
            arguments += _options(generator)
        yield COMMAND_MUTATIONS[i % len(COMMAND_MUTATIONS)](generator, arguments)


def delete_a_line(generator: random.Random, text: str) -> str:
    """A line is lost."""
    lines = text.splitlines(keepends=True)
    del lines[generator.randrange(len(lines))]
    return "".join(lines)


def repeat_a_line(generator: random.Random, text: str) -> str:
    """A line is there twice."""
    lines = text.splitlines(keepends=True)
    lines.insert(generator.randrange(len(lines)), generator.choice(lines))
    return "".join(lines)


def swap_lines(generator: random.Random, text: str) -> str:
    """Two lines change places, so a key may land in another section."""
    lines = text.splitlines(keepends=True)
    first, second = generator.randrange(len(lines)), generator.randrange(len(lines))
    lines[first], lines[second] = lines[second], lines[first]
    return "".join(lines)


def change_a_value(generator: random.Random, text: str) -> str:
    """A key has another value: of another type, extreme, or no TOML."""
    lines = text.splitlines(keepends=True)
    places = [place for place, line in enumerate(lines) if "=" in line] or [0]
    place = generator.choice(places)
    lines[place] = lines[place].partition("=")[0] + "= " + generator.choice(VALUES) + "\n"
    return "".join(lines)


def change_a_key(generator: random.Random, text: str) -> str:
    """A key is misspelt."""
    lines = text.splitlines(keepends=True)
    place = generator.randrange(len(lines))
    cut = generator.randrange(len(lines[place]))
    lines[place] = lines[place][:cut] + generator.choice("_aZ9 .-") + lines[place][cut + 1 :]
    return "".join(lines)


def insert_a_string(generator: random.Random, text: str) -> str:
    """Control characters, other scripts or syntax somewhere in the text."""
    place = generator.randrange(len(text) + 1)
    return text[:place] + generator.choice(STRINGS) * generator.choice((1, 1, 3, 500)) + text[place:]


def add_arguments(generator: random.Random, text: str) -> str:
    """The user's own callable with any argument."""
    section = generator.choice(("model", "data", "optimizer"))
    key = generator.choice(("a", "a." * 3_000 + "a", '"\\u001b"', '""', "a" * 5_000, "é", "name"))
    text = text.replace(f"[{section}]\nname = ", f'[{section}]\nname = "a:b"\n#')
    return text.replace(f"[{section}.arguments]\n", f"[{section}.arguments]\n{key} = {generator.choice(VALUES)}\n")


def add_a_table(generator: random.Random, text: str) -> str:
    """A section that is there already, is unknown, or is nested far too deep."""
    known = generator.choice(SECTIONS)
    choices = (f"[{known}]", f"[{known}.{known}]", f"[[{known}]]", "[sections]", "[" + "a." * 3_000 + "a]", "[]", "[a")
    return text + generator.choice(choices) + "\na = 1\n"


def grow(generator: random.Random, text: str) -> str:
    """Much more of something."""
    count = generator.choice((1_000, 9_000))
    more = ("# comment\n", "\n", " ", "[[a]]\n", "a.b.c = 1\n", '"""', "a = 1\n", "a." * 4 + "\n", "[a", "{", "é")
    return text + generator.choice(more) * count


def add_a_long_dotted_key(generator: random.Random, text: str) -> str:
    """A key with very many parts, for which a simple parser needs minutes."""
    return "a." * generator.choice((100, 900, 5_000, 40_000)) + "a = 1\n" + text


def cut_short(generator: random.Random, text: str) -> str:
    """The file ends early."""
    return text[: generator.randrange(len(text))] if text else text


def change_bytes(generator: random.Random, text: str) -> bytes:
    """Flipped bytes."""
    content = bytearray(text.encode(errors="surrogatepass"))
    for _ in range(generator.choice((1, 5, 200))):
        content[generator.randrange(len(content))] = generator.randrange(256)
    return bytes(content)


def change_the_encoding(generator: random.Random, text: str) -> bytes:
    """Not UTF-8."""
    return text.encode(generator.choice(("utf-16", "utf-32", "utf-8-sig", "utf-7", "cp500")), errors="replace")


def replace_everything(generator: random.Random, _: str) -> bytes:
    """Something else altogether."""
    return generator.choice(
        (b"", b"\0" * 5_000, b"\n", b"{}", b"[]", b"#!/bin/sh\n", b"\x89PNG\r\n\x1a\n", generator.randbytes(3_000))
    )


def change_many_values(generator: random.Random, text: str) -> str:
    """Several values at once."""
    for _ in range(generator.randrange(2, 6)):
        text = change_a_value(generator, text)
    return text


RECIPE_MUTATIONS: Final[tuple[Mutation, ...]] = (
    *(change_a_value, change_many_values, delete_a_line, repeat_a_line, swap_lines, change_a_key, insert_a_string),
    *(add_arguments, add_a_table, grow, add_a_long_dotted_key, cut_short, change_bytes, change_the_encoding),
    replace_everything,
)


def _options(generator: random.Random) -> list[str]:
    number = generator.choice(NUMBERS)
    flag = generator.choice(("--minibatch-size", "--epochs", "--seed", "--processes", "--at", "--set", "--cluster"))
    if flag == "--set":
        key = generator.choice((*SETTINGS, "", ".", "a.b", "model", "model.", ".name", "épochs", "a" * 5_000, "x=y"))
        return [flag, generator.choice((key + "=", key + " = ", key, "=")) + generator.choice(VALUES)]
    if flag == "--cluster":
        key = generator.choice(
            ("nodes", "devices", "gbit", "images_per_second", "jitter", "bucket_mb", "latency_us", "x")
        )
        spec = generator.choice(("goyal2017", "images_per_second=150", "nodes=2", "", ",", "goyal2018"))
        return [flag, f"{spec},{key}={generator.choice((number, *VALUES[:20]))}"]
    return [flag, number]


SETTINGS: Final = (
    *(
        "minibatch_size",
        "worker_minibatch_size",
        "epochs",
        "seed",
        "name",
        "precision",
        "loss",
        "reference.minibatch_size",
    ),
    *("reference.learning_rate", "reference.largest_matching", "model.name", "model.width", "model.arguments"),
    *("model.arguments.a.b", "data.name", "data.path", "data.image_size", "data.num_train_samples", "scaling.rule"),
    *("warmup.kind", "warmup.epochs", "schedule.kind", "schedule.milestones", "schedule.factor", "optimizer.name"),
    *("optimizer.momentum", "optimizer.weight_decay", "launch.timeout_seconds", "launch.max_restarts"),
    *("checkpoints.every_seconds", "checkpoints.keep", "data.augmentation", "optimizer.nesterov"),
)


def as_they_are(_: random.Random, arguments: list[str]) -> list[str]:
    """The odd values alone."""
    return arguments


def without_one(generator: random.Random, arguments: list[str]) -> list[str]:
    """A word is missing."""
    del arguments[generator.randrange(len(arguments))]
    return arguments


def repeated(generator: random.Random, arguments: list[str]) -> list[str]:
    """A flag or a value comes twice."""
    place = generator.randrange(len(arguments))
    return [*arguments[:place], *arguments[place : place + 2], *arguments[place:]]


def in_another_order(generator: random.Random, arguments: list[str]) -> list[str]:
    """The words are shuffled."""
    generator.shuffle(arguments)
    return arguments


def with_an_unknown_flag(generator: random.Random, arguments: list[str]) -> list[str]:
    """An unknown flag, or a broken one."""
    flags = ("--proceses", "--js", "-x", "-", "--", "--json=yes", "--set", "---", "--\x1b[2J", "--" + "x" * 20_000, "")
    return [
        *arguments,
        generator.choice((*flags, "--json", "--figure", "--é", "-1", "\n", "@file", "--processes=")),
    ]


def of_another_recipe(generator: random.Random, arguments: list[str]) -> list[str]:
    """A recipe that does not exist."""
    names = ("", ".", "/", "/dev/null", "none.toml", "x" * 5_000, "x" * 5_000 + ".toml", "a\0b.toml", "a\0b", "digit")
    arguments[1] = generator.choice(
        (*names, "/dev/zero", "\x1b[31m", "é.toml", "\udcff.toml", "~", "*", "/root/x.toml")
    )
    return arguments


COMMAND_MUTATIONS: Final = (
    *(as_they_are, as_they_are, as_they_are, without_one, repeated, in_another_order, with_an_unknown_flag),
    of_another_recipe,
)
