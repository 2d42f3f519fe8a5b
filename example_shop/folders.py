"""Where the example shop keeps its data: database, pictures, messages, logs."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("CARDIGAN_DEMO_FOLDER") or ROOT / ".demo").resolve()
"""`.demo` in the repository; CARDIGAN_DEMO_FOLDER names another one."""
MEDIA = DATA / "media"
BROKER = DATA / "broker"
POSTGRES = DATA / "postgres"
CATALOGUE = Path(__file__).resolve().parent / "catalogue"
