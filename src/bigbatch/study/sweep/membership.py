"""The sweep to which a run's folder belongs, according to `sweep.json` in the folder above it."""

from pathlib import Path

from bigbatch.errors import InputError
from bigbatch.runs.record import RunRecord
from bigbatch.study.configuration import Configuration
from bigbatch.study.sweep.manifest import Manifest, read_manifest


class Membership:
    """The sweeps of runs; each `sweep.json` is read once.

    Attributes:
        damaged: the folders whose `sweep.json` cannot be read, and why; their runs count as runs of no sweep.
    """

    def __init__(self) -> None:
        self.damaged: dict[Path, str] = {}
        self.known: dict[Path, Manifest | None] = {}

    def find(self, run: RunRecord) -> tuple[Configuration, bool] | None:
        """Return a run's configuration, and whether it is the sweep's reference; None outside sweeps.

        A run of another minibatch size than the sweep says has been put in the place of the sweep's run.
        """
        path = run.path.absolute()
        manifest = self._of(path.parent)
        configuration = manifest.runs.get(path.name) if manifest else None
        if not manifest or not configuration or configuration.minibatch_size != run.recipe_fields.get("minibatch_size"):
            return None
        return configuration, configuration == manifest.reference

    def _of(self, folder: Path) -> Manifest | None:
        if folder not in self.known:
            self.known[folder] = None
            try:
                self.known[folder] = read_manifest(folder)
            except InputError as error:
                self.damaged[folder] = f"{error}, and ignored"
        return self.known[folder]
