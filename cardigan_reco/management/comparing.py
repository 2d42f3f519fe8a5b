"""What the commands show while listings are compared."""

from __future__ import annotations

from collections.abc import Iterable

from django.core.management.base import OutputWrapper
from tqdm import tqdm

from cardigan_reco import stopping
from cardigan_reco.duplicates import Progress


def followed(found: Iterable[Progress], file: OutputWrapper) -> Progress:
    """Runs to the end, or until the process is asked to stop, with a progress bar."""
    progress = Progress()
    with (
        stopping.at_sigterm(),
        tqdm(desc="find_duplicates", unit="picture", file=file) as bar,
    ):
        for progress in found:
            bar.total = max(progress.total, progress.compared)
            bar.set_postfix(found=progress.found, refresh=False)
            bar.update(progress.compared - bar.n)
            if stopping.is_asked():
                break
        bar.refresh()
    return progress
