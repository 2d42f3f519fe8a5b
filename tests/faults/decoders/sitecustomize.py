"""Gives each Python process that finds this folder on its path a Pillow that some pictures break.

Pictures of CRASHES x CRASHES pixels end the process, of HANGS x HANGS are never decoded, of
SWELLS x SWELLS take all memory that there is, as those do that meet a bug of a decoder.
CARDIGAN_TESTS_HANGING names a file in which a process that hangs leaves its id.
"""

import os
import signal
import time
from pathlib import Path

from PIL import ImageFile

CRASHES, HANGS, SWELLS = 71, 73, 79
_load = ImageFile.ImageFile.load


def load(self):
    if self.size == (CRASHES, CRASHES):
        os.kill(os.getpid(), signal.SIGSEGV)
    if self.size == (HANGS, HANGS) and (told := os.environ.get("CARDIGAN_TESTS_HANGING")):
        Path(told).write_text(f"{os.getpid()}\n")
    while self.size == (HANGS, HANGS):
        time.sleep(3600)
    swelling = []
    while self.size == (SWELLS, SWELLS):
        swelling.append(bytes(50_000_000))
    return _load(self)


ImageFile.ImageFile.load = load
