"""The speed of the input on real photographs of ImageNet: JPEGs and packs of them, beside torchvision on the JPEGs.

Run from the repository's root, in an environment with torchvision (`make test-vision` sets one up):
python benchmarks/input.py [FOLDER]. The folder holds photographs named CLASS_name.JPEG; by default it is
data/imagenet-samples.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from card import write_card

FORMS = {
    "JPEGs as they are": None,
    "pack, JPEGs of 256 pixels": (),
    "pack, pixels of 256": ("--pixels",),
}


def bigbatch(*words: str) -> Any:  # noqa: ANN401 - any JSON
    """Run a command, and return what it prints."""
    command = [sys.executable, "-m", "bigbatch", *words, "--json"]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


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
            found = bigbatch("bench", "input", *words, "--loader-workers", "1")
            results[form] = {**found, "bytes": packed.get("bytes"), "path": "", "beside": ""}
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
        f"flip' ends in bytes, 'normalise' in floats. {'; '.join(sizes)}.\n\n"
        "| bigbatch reads | stage | bigbatch | Pillow + torchvision, JPEGs | ratio |\n|---|---|---|---|---|\n"
    )
    write_card("input", "The input: decode, crop, flip, normalise", results, header + "\n".join(rows))


if __name__ == "__main__":
    main()
