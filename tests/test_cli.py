"""The command line: bad input gives one line and exit code 2, and nothing is lost."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from bigbatch.cli import main
from bigbatch.recipe.file import to_toml
from bigbatch.recipe.presets import digits

HERE = {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])}


def refused(done, message):
    """Check that a command ended as bad input ends."""
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("bigbatch: error: ")
    assert done.stderr.count("\n") == 1
    assert message in done.stderr
    assert not done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--minibatch-size", 250), "not divisible by worker_minibatch_size 16; the nearest are 240 and 256"),
        (("--minibatch-size", 8), "minibatch_size 8 is smaller than worker_minibatch_size 16"),
        (("--minibatch-size", 2048), "minibatch_size 2048 is larger than the data set of 1280 samples"),
        (("--minibatch-size", "many"), "argument --minibatch-size: must be a whole number, not 'many'"),
        (("--processes", 2), "2 processes are more than the 1 workers of a minibatch; use at most 1"),
        (("--processes", 0), "argument --processes: must be a whole number from 1 to 65536, not '0'"),
        (("--set", "reference.learning_rate=-1"), "reference.learning_rate must be a number above 0, not -1"),
        (("--set", "reference.learning_rate=nan"), "reference.learning_rate must be a number above 0, not nan"),
        (("--set", "warmup.epoch=3"), "unknown key 'warmup.epoch'; did you mean 'epochs'?"),
        (("--set", "model.name=resnet19"), "unknown model 'resnet19'"),
        (("--set", "model.name=no.such:thing"), "'no.such:thing': there is no module 'no'"),
        (("--set", "model.name=:net"), "':net' is not of the form package.module:callable"),
        (("--set", "model.name=user_models:net", "--set", "model.arguments.hiden=3"), "got an unexpected keyword"),
        (("--set", "model.name=a:b", "--set", "model.arguments.x=2024-01-01"), "model.arguments must be plain values"),
        (("--set", "data.name=digit"), "unknown data set 'digit'; did you mean 'digits'?"),
        (("--set", "data.name=fashion-mnist", "--set", "data.path=/none"), "/none has no train-images-idx3-ubyte.gz"),
        (("--set", "data.name=cifar10"), "cifar10 needs its data: set data.path"),
        (("--set", "data.name=image-folder", "--set", "data.path=/none"), "there is no data folder /none"),
        (("--set", "optimizer.name=adan"), "unknown optimizer 'adan'"),
        (("--set", "optimizer.name=user_models:absorbing"), "absorbs the learning rate into its momentum"),
        (("--output", "/dev/null/run"), "cannot write the run to /dev/null/run"),
        (("--proceses", 2), "unknown argument '--proceses'; did you mean '--processes'?"),
        (("--reduction", "fast"), "argument --reduction: invalid choice: 'fast'"),
        (("--all-reduce", "ring"), "argument --all-reduce: invalid choice: 'ring'"),
        (("--reduction", "exact", "--all-reduce", "native"), "--reduction exact contradicts --all-reduce native"),
        (("--reduction", "native", "--all-reduce", "direct"), "--reduction native contradicts --all-reduce direct"),
        (("--compression", "bfloat16"), "compression bfloat16 is not exact; it needs the native all-reduce"),
        (("--bucket-mb", "0"), "bucket_mb must lie above 0"),
        (("--bucket-mb", "big"), "argument --bucket-mb: must be a number, not 'big'"),
        (("--timeout", "0"), "argument --timeout: must be a number of seconds above 0, not '0'"),
    ],
)
def test_training_refuses(bigbatch, arguments, message, tmp_path):
    refused(bigbatch("train", "digits", *arguments, **HERE), message)
    assert not list(tmp_path.rglob("*.pt"))


@pytest.fixture
def here(tmp_path, monkeypatch, capfd):
    """Return a function that runs a command in this process, for input that is refused at once."""

    def run(*arguments):
        monkeypatch.chdir(tmp_path)
        exit_code = main(list(map(str, arguments)))
        return subprocess.CompletedProcess(arguments, exit_code, *capfd.readouterr())

    return run


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "COMMAND is missing"),
        (("--foo",), "unknown argument '--foo'; known are: --help, --version"),
        (("bench",), "WHAT is missing"),
        (("verify", "digits", "--loop="), "argument --loop: must be a name, not ''"),
        (("runs", "--sort="), "argument --sort: must be a name, not ''"),
        (("trian",), "invalid choice: 'trian'"),
        (("plan", "digit"), "'digit' is neither a preset nor a TOML file; did you mean 'digits'?"),
        (("plan", "none.toml"), "cannot read the recipe none.toml: No such file or directory"),
        (("plan", "digits", "--at", "abc"), "argument --at: must be a whole number of at least 0, not 'abc'"),
        (("bench", "step", "--seconds", "nan"), "argument --seconds: must be a number of seconds above 0, not 'nan'"),
        (("plan", "digits", "--at", "99999"), "iteration 99999 is outside the training, which has 0 to 2399"),
        (("plan", "digits", "--processes", 5), "5 processes are more than the 1 workers"),
        (("plan", "digits", "--minibatch-size", 4096), "larger than the data set of 1280 samples"),
        (("evaluate", "none"), "none holds no run"),
        (("bench", "all-reduce", "--processes", 1), "an all-reduce needs at least 2 processes; give --processes P"),
        (("bench", "all-reduce", "--sizes", "4"), "argument --sizes: must be sizes such as 64KB,10MB"),
        (("bench", "all-reduce", "--sizes", "4TB"), "argument --sizes: must be sizes such as 64KB,10MB"),
        (("report", "none"), "none holds no run"),
        (("bench", "step", "digits", "--minibatch-size", 48, "--processes", 2), "3 workers among 2 processes"),
        (("plan", "digits", "extra"), "unexpected argument 'extra' (see bigbatch plan --help)"),
        (("runs", "--foo"), "unknown argument '--foo'; known are: --help, --json, --sort, --where (see bigbatch runs"),
        (("bench", "step", "--rouds", 3), "unknown argument '--rouds'; did you mean '--rounds'? (see bigbatch bench"),
        (("plan", "digits", "--cluster", ""), "cluster '' is unknown; known: goyal2017"),
        (("plan", "digits", "--cluster", "nodes=2"), "the 1 workers of a minibatch of 16; use a larger one, or fewer"),
        (("report", "none", "--figure", "x.txt"), "argument --figure: must end in .png, .svg or .pdf, not 'x.txt'"),
        (("report", "none", "--output", ""), "argument --output: must name a file or a folder, not ''"),
    ],
)
def test_other_commands_refuse(here, arguments, message):
    refused(here(*arguments), message)


def test_recipe_files(bigbatch, tmp_path):
    path = tmp_path / "mine.toml"
    text = to_toml(digits())
    for content, message in [
        (text + "\n[data\n", "mine.toml is not valid TOML"),
        (
            text.replace("[data.arguments]", "[data.arguments]\nx = 1"),
            "mine.toml: data.arguments is for package.module",
        ),
        (text.replace("seed = 0", "seed = 0\nseed = 1"), "mine.toml is not valid TOML: Cannot overwrite a value"),
        (
            text.replace("momentum = 0.9", "momentun = 0.9"),
            "unknown key 'optimizer.momentun'; did you mean 'momentum'?",
        ),
        (text.replace("epochs = 30\n", ""), "mine.toml: the key 'epochs' is missing"),
    ]:
        path.write_text(content)
        refused(bigbatch("train", path), message)
    path.write_text(text)
    assert bigbatch("plan", path).returncode == 0


def test_what_a_file_says_cannot_move_the_cursor_or_forge_a_line(bigbatch, tmp_path):
    (tmp_path / "evil.toml").write_text(to_toml(digits()) + '\n"\\u001b[2J\\nbigbatch: finished" = 1\n', newline="\n")
    refused(bigbatch("plan", "evil.toml"), r"\x1b[2J\nbigbatch: finished")
    refused(bigbatch("report", "[bold]\x1b[1A\n"), r"[bold]\x1b[1A\n holds no run")


def test_folders_of_other_runs_keep_what_they_hold(bigbatch, tmp_path):
    train = ("train", "digits", "--output", "run", "--set", "model.width=4", "--epochs", 2)
    train = (*train, "--minibatch-size", 256, "--processes", 1)
    assert bigbatch(*train, "--stop-after-epoch", 1).returncode == 0
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    refused(bigbatch(*train), "run already holds this run; add --resume")
    changes = ("--minibatch-size", 128, "--seed", 1)
    refused(bigbatch(*train, *changes), "the recipe differs in minibatch_size: 256 -> 128; seed: 0 -> 1")
    refused(
        bigbatch(*train, *changes, "--resume"), "cannot resume: the recipe differs in minibatch_size: 256 -> 128; seed"
    )
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "text").touch()
    refused(bigbatch("train", "digits", "--output", "thesis"), "thesis is not empty and holds no run")
    assert {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()} == before
    assert bigbatch(*train, "--resume").returncode == 0
    assert "validation error" in bigbatch("evaluate", "run").stdout
    assert "error %" in bigbatch("report", "run").stdout


def test_an_image_folder_trains_and_a_broken_image_is_named_by_one_line(bigbatch, tmp_path):
    for split in ("train", "val"):
        for label, name in enumerate(("ant", "bee")):
            (tmp_path / "images" / split / name).mkdir(parents=True)
            for i in range(8):
                Image.new("RGB", (20, 30), (100 * label, 10 * i, 50)).save(
                    tmp_path / "images" / split / name / f"{i}.png"
                )
    train = (
        "train",
        "digits",
        "--set",
        "data.name=image-folder",
        "--set",
        "data.path=images",
        "--set",
        "model.width=4",
    )
    options = ("--set", "data.image_size=8", "--set", "worker_minibatch_size=4", "--minibatch-size", 8, "--epochs", 1)
    plain = ("--set", "data.augmentation=[]")
    augmented = ("--set", 'data.augmentation=["random-resized-crop", "flip"]')
    done = bigbatch(*train, *options, *augmented, "--processes", 2, "--loader-workers", 1, "--output", "good")
    assert done.returncode == 0, done.stderr
    (tmp_path / "images" / "val" / "bee" / "3.png").write_bytes(b"broken")
    done = bigbatch(*train, *options, *plain, "--processes", 2, "--output", "bad")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "cannot decode the image images/val/bee/3.png" in done.stderr
    (tmp_path / "images" / "train" / "cat").mkdir()
    refused(bigbatch(*train, *options, "--output", "empty"), "images/train/cat holds no image")


def test_bench_all_reduce_times_every_algorithm_beside_the_native_one(bigbatch, tmp_path):
    options = ("--sizes", "4KB,1MB", "--rounds", 3, "--seconds", 0.2, "--processes", 3)
    done = bigbatch("bench", "all-reduce", *options, "--figure", "times.png")
    assert done.returncode == 0, done.stderr
    assert all(f" {name} " in done.stdout for name in ("halving-doubling", "direct", "three-phase", "native"))
    assert "4 KB" in done.stdout
    assert (tmp_path / "times.png").read_bytes().startswith(b"\x89PNG")
    result = json.loads(bigbatch("bench", "all-reduce", *options, "--json").stdout)
    for timings in result["seconds_by_bytes"].values():
        assert timings["native"]["ratio"] == 1
        assert all(0 < t["lower"] <= t["median"] <= t["upper"] for t in timings.values())


def test_bench_step_compares_in_pairs(bigbatch):
    sizes = ("--minibatch-size", 32, "--set", "model.width=4", "--rounds", 2, "--seconds", 0.05)
    done = bigbatch("bench", "step", "digits", *sizes, "--processes", 2)
    assert done.returncode == 0, done.stderr
    assert "plain DDP loop" in done.stdout
    assert "ratio" in done.stdout


COMMANDS = ["plan", "train", "sweep", "evaluate", "export", "verify", "report", "runs", "diff", "reproduce", "bench"]
BENCHES = ["bench-step", "bench-all-reduce"]
HELP = """
import sys
from bigbatch.cli import main
try:
    main([*sys.argv[1:], "--help"])
finally:
    assert "torch" not in sys.modules
"""


@pytest.mark.parametrize("command", ["", *COMMANDS, *BENCHES])
def test_help_fits_the_terminal_and_needs_no_torch(command):
    words = command.split("-", 1)
    done = subprocess.run(
        [sys.executable, "-c", HELP, *filter(None, words)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "COLUMNS": "100"},
    )
    assert done.stdout.startswith(f"usage: {' '.join(['bigbatch', *words]).strip()} ")
    assert max(map(len, done.stdout.splitlines())) <= 100


def test_help_lists_every_command(bigbatch):
    done = bigbatch("--help")
    assert done.returncode == 0
    listed = {line.split()[0] for line in done.stdout.splitlines() if line.startswith("    ")}
    assert set(COMMANDS) <= listed
    assert "bigbatch 0." in bigbatch("--version").stdout


def test_help_and_import_are_quick():
    """Both import no torch, and take a part of the time that torch's own import takes, on whatever machine.

    It is the time of a core. The least of five counts, since other work only adds to it.
    """

    def seconds(*command):
        times = []
        for _ in range(5):
            process = subprocess.Popen([sys.executable, *command], stdout=subprocess.DEVNULL)
            _, status, used = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            assert process.returncode == 0
            times.append(used.ru_utime + used.ru_stime)
        return min(times)

    torch = seconds("-c", "import torch")
    assert seconds("-m", "bigbatch", "--help") < torch / 2
    assert seconds("-c", "import bigbatch") < torch / 5
    no_torch = "import sys; assert 'torch' not in sys.modules"
    for use in ("import bigbatch; bigbatch.Recipe", "from bigbatch.cli.parse import build_parser; build_parser()"):
        subprocess.run([sys.executable, "-c", f"{use}; {no_torch}"], check=True)
    subprocess.run(
        [sys.executable, "-c", "import bigbatch; [getattr(bigbatch, n) for n in bigbatch.__all__]"], check=True
    )


def test_a_reader_that_goes_away_is_no_error():
    command = f"{sys.executable} -m bigbatch plan digits | true"
    done = subprocess.run(
        ["/bin/bash", "-c", command], check=True, capture_output=True, text=True, env=dict(os.environ)
    )
    assert "Traceback" not in done.stderr
