"""An export of which nothing changed takes the bundle that was made before."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mien.mobile_reference.bundle.app_bundle import BUNDLE
from mien.mobile_reference.output.folder import OutputFolder

from .key import Asked, key_of
from .store import BUNDLES, FolderCache, NotKept, files_in


@dataclass(frozen=True)
class Reuse:
    """What was asked for, and the key that it had before the export, in the environment of then.

    Libraries change the environment while they are imported.
    """

    cache: FolderCache
    asked: Asked
    environment: Mapping[str, str]
    key: str

    @classmethod
    def begin(cls, asked: Asked) -> "Reuse | None":
        """Find the key of an export; None where no bundle is kept, or none of its kind."""
        environment = dict(os.environ)
        cache, key = FolderCache.of_user(BUNDLES), _key(asked, environment)
        return None if cache is None or key is None else cls(cache, asked, environment, key)

    def fetch(self, output: Path) -> tuple[str, ...] | None:
        """Put the kept bundle at ``output``, and return the warnings of its export; None if there is none.

        Raises:
            UsageError: the output folder holds something that is not a bundle as an export wrote it.
        """
        try:
            with OutputFolder.at(output, BUNDLE).staged() as staging:
                return self.cache.fetch(self.key, staging)
        except NotKept:
            return None

    def keep(self, bundle: Path, warnings: Sequence[str]) -> None:
        """Keep a bundle that was just made, unless something that it follows from changed meanwhile."""
        if _key(self.asked, self.environment) == self.key:
            self.cache.keep(self.key, bundle, files_in(bundle), warnings)


def _key(asked: Asked, environment: Mapping[str, str]) -> str | None:
    try:
        return key_of(asked, environment)
    except OSError:  # the export says what cannot be read
        return None
