# %% [markdown]
# # 01 · Self-attention
#
# A first, minimal page: the chapter is being written.

# %%
import numpy as np
import torch
from lesson import agree, check, side_by_side, slider, solution

import swin_numpy
import swin_torch
from figures.attention import temperature

# %%
side_by_side("attention.Attention")

# %% [markdown]
# ### Q04: Along which axis does the softmax run?

# %%
rng = np.random.default_rng(0)
X, W_Q, W_K, W_V = rng.standard_normal((4, 4, 4))
a = swin_numpy.self_attention(X, W_Q, W_K, W_V)
b = swin_torch.self_attention(*(torch.tensor(x) for x in (X, W_Q, W_K, W_V)))
agree("Z", a.Z, b.Z)

# %%
slider(lambda T: temperature(a.scores[0], [T]), T=(0.5, 3.0, 0.5))


# %%
def my_softmax(scores):
    """scores (i, j) → weights (i, j)."""
    ...


check("01.1", my_softmax)

# %%
solution("01.1")
