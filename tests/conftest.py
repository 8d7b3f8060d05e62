"""What holds for every test: nothing is written where the developer's own gateway keeps its things."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile

_FOLDER = tempfile.mkdtemp(prefix="penstock-state-")
atexit.register(shutil.rmtree, _FOLDER, ignore_errors=True)
os.environ["PENSTOCK_STATE_DIR"] = _FOLDER
