"""What the first cell of a chapter in the page imports: then the chapter finds `lesson`, its data and its exercises."""

import os
import sys
from functools import wraps
from pathlib import Path

import matplotlib.pyplot  # noqa: F401  looks through the fonts, once
import numpy as np
from IPython import get_ipython

CHAPTERS = Path(__file__).parent / "notebooks"
PRINTING = {}
set_printing = np.set_printoptions


@wraps(set_printing)
def set_and_keep(**options):
    PRINTING.update(options)
    set_printing(**options)


# Each cell runs in a context of its own here, in which NumPy forgets how a cell before wanted arrays printed.
np.set_printoptions = set_and_keep
get_ipython().events.register("pre_run_cell", lambda _: set_printing(**PRINTING))
sys.path.insert(0, str(CHAPTERS))
os.chdir(CHAPTERS)
print("Ready. Go on cell by cell with ▶ (or Shift+Enter), or run all of them: Run ▸ Run All Cells.")
