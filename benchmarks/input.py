"""The speed of the input on real photographs of ImageNet: JPEGs and packs of them, beside torchvision on the JPEGs.

Run from the repository's root, in an environment with torchvision (`make test-vision` sets one up):
python benchmarks/input.py [FOLDER]. The folder holds photographs named CLASS_name.JPEG; by default it is
data/imagenet-samples.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from PIL import Image

from bigbatch.data.image_files.regions import decode_region
from card import write_card

PILLOW_ALONE = "JPEGs as they are, Pillow alone"
FORMS = {
    PILLOW_ALONE: None,
    "JPEGs as they are": None,
    "pack, JPEGs of 256 pixels": (),
    "pack, pixels of 256": ("--pixels",),
}
WITHOUT_REGIONS = "import sys; sys.modules['nvidia'] = None; from bigbatch.cli import start; start()"
ENTROPY_ROUNDS = 9


def bigbatch(*words: str, with_regions: bool = True) -> Any:  # noqa: ANN401 - any JSON
    """Run a command, and return what it prints."""
    program = ["-m", "bigbatch"] if with_regions else ["-c", WITHOUT_REGIONS]
    command = [sys.executable, *program, *words, "--json"]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def milliseconds_of_entropy_coding(paths: list[Path]) -> float:
    """Return what the coding of a colour photograph takes: all of it is read to decode its last pixel."""
    coded = [(path.read_bytes(), Image.open(path)) for path in paths]
    photographs = [(content, image.size) for content, image in coded if image.mode == "RGB"]
    times = []
    for _ in range(ENTROPY_ROUNDS):
        start = time.process_time()
        for content, (width, height) in photographs:
            assert decode_region(content, (width - 1, height - 1, width, height), (width, height)) is not None
        times.append(time.process_time() - start)
    return 1000 * median(times) / len(photographs)


def main() -> None:
    """Measure every form, and write the card."""
    source = Path(sys.argv[1] if len(sys.argv) > 1 else "data/imagenet-samples")
    with tempfile.TemporaryDirectory(prefix="bigbatch-input-") as name:
        folder, results = Path(name) / "folder", {}
        for path in source.glob("*.JPEG"):
            for split in ("train", "val"):
                target = folder / split / path.name.partition("_")[0] / path.name
                target.parent.mkdir(parents=True)
                target.symlink_to(path.absolute())
        for form, options in FORMS.items():
            where, packed = folder, {}
            if options is not None:
                where = Path(name) / f"pack{len(results)}"
                packed = bigbatch("pack", str(folder), str(where), "--short-side", "256", *options)["train"]
            words = ("imagenet-resnet50", "--set", f"data.path={where}", "--beside", str(folder), "--samples", "120")
            bench = ("bench", "input", *words, "--loader-workers", "1")
            found = bigbatch(*bench, with_regions=form != PILLOW_ALONE)
            results[form] = {**found, "bytes": packed.get("bytes"), "path": "", "beside": ""}
    entropy = milliseconds_of_entropy_coding(sorted(source.glob("*.JPEG")))
    rows = [
        f"| {form} | {stage} | {rates['median']:,.0f} | {found['torchvision'][stage]['median']:,.0f} | "
        f"**{found['ratios'][stage]:.2f}** |"
        for form, found in results.items()
        for stage, rates in found["stages"].items()
    ]
    sizes = [
        f"{form}: {found['bytes'] / 120 / 1000:.0f} kB an image" for form, found in results.items() if found["bytes"]
    ]
    header = (
        "120 photographs of ImageNet, cut to 224 pixels, images in a second of a core's time: medians of 9 rounds, in "
        "which each stage takes turns with torchvision on the JPEGs; the ratio is that of the pairs. 'Decode, crop, "
        f"flip' ends in bytes, 'normalise' in floats; 'decode' is of whole images, by Pillow. {'; '.join(sizes)}. "
        f"Decoders: {results['JPEGs as they are']['decoder']}. A colour photograph's entropy coding, which nothing can "
        f"skip, takes {entropy:.2f} ms alone.\n\n"
        "| bigbatch reads | stage | bigbatch | Pillow + torchvision, JPEGs | ratio |\n|---|---|---|---|---|\n"
    )
    write_card("input", "The input: decode, crop, flip, normalise", results, header + "\n".join(rows))


if __name__ == "__main__":
    main()
