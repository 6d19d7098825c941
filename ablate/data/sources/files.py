"""`folder` and `zip`: PNG, JPEG and WEBP files, with classes by folder or by EDM's dataset.json."""

from __future__ import annotations

from ablate.config.profile import Data
from ablate.core.errors import SpecError
from ablate.data.archives import KEY
from ablate.data.sources import Source, located
from ablate.data.survey import Survey, survey


class Folder(Source, name="folder"):
    folder = True

    def surveys(self, spec: Data) -> list[Survey]:
        return [self._survey(spec, key) for key in ("path", "test_path") if getattr(spec, key) is not None]

    def _survey(self, spec: Data, key: str) -> Survey:
        path = located(spec, key)
        if path.is_dir() != self.folder:
            kind = "a folder" if path.is_dir() else "no folder"
            raise SpecError(f"{KEY}.{key}: {getattr(spec, key)!r} is {kind}, but {KEY}.name is {self.name}")
        return survey(path, spec.max_pixels)


class Zip(Folder, name="zip"):
    folder = False
