"""What the first cell of a chapter in the page imports: then the chapter finds `lesson`, its data and its exercises."""

import os
import sys
from pathlib import Path

print("Preparing pictures …")
import matplotlib.pyplot  # noqa: E402, F401  looks through the fonts, once

CHAPTERS = Path(__file__).parent / "notebooks"
sys.path.insert(0, str(CHAPTERS))
os.chdir(CHAPTERS)
print("Ready. Go on with Shift+Enter, cell by cell, or run all of them: Run ▸ Run All Cells.")
