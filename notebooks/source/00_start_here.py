# %% [markdown]
# # 00 · Start here
#
# A first, minimal page: the chapter is being written.

# %%
import swin_numpy
import swin_torch

swin_numpy.CONFIGS["swin_tiny_patch4_window7_224"]
