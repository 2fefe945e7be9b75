"""How `make lab` starts JupyterLab: the repository as root, so that links to the sources work, and no network."""

import os
import tempfile
from importlib.util import find_spec
from pathlib import Path

HERE = Path(__file__).parent

FOLDER = "notebooks/zh" if os.environ.get("LANGUAGE") == "zh" else "notebooks"  # make lab LANGUAGE=zh
FIRST = min(HERE.parent.glob("00_*.ipynb")).name

c = get_config()  # noqa: F821
c.ServerApp.root_dir = str(HERE.parents[1])
c.LabApp.default_url = f"/lab/tree/{FOLDER}/{FIRST}"
c.LabApp.app_settings_dir = str(HERE)  # where overrides.json lies: no question about news, no search for updates
c.LabApp.news_url = None
c.LabApp.check_for_updates_class = "jupyterlab.NeverCheckForUpdate"
c.LabApp.extension_manager = "readonly"
c.FileCheckpoints.checkpoint_dir = str(Path(tempfile.gettempdir()) / "swin_twice_checkpoints")  # not beside the sources

if find_spec("torch") is None:  # TORCH=none: what needs it is left out of each cell, and said
    os.environ["PYTHONSTARTUP"] = str(HERE / "startup.py")
