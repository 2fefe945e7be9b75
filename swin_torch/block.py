"""The Swin block: attention inside windows, then an MLP, each on a residual path (Liu et al. 2021, eq. 3)."""

from einops import rearrange
from torch.nn import LayerNorm, Module

from .layers import DropPath, Mlp
from .module import check_whole
from .patches import check_grid, check_tokens
from .window_attention import WindowAttention, WindowAttentionV2
from .windows import cyclic_shift, pad_to_multiple, shift_mask, window_partition, window_reverse


class SwinTransformerBlock(Module):
    """x + attention(norm(x)), then x + mlp(norm(x)). Tokens (n, h·w, c) in, tokens (n, h·w, c) out.

    dim: channels c. num_heads: must divide dim. input_resolution: the grid (h, w) that the model is built for, or None
    for any. window_size: M. shift_size: 0 for W-MSA, M // 2 for SW-MSA. If the smaller side of the built grid fits into
    one window, the window shrinks to it and nothing is shifted, as in the official
    swin_transformer.py. always_shift: neither shrink the window nor leave any map unshifted, as detectors do.
    drop, attn_drop, drop_path: rates of dropout, of dropout of the attention weights, and of stochastic depth.
    attention: what else the attention takes, such as V2's pretrained_window_size.
    Raises TypeError or ValueError for sizes and rates that make no sense.
    """

    Attention = WindowAttention

    def __init__(
        self,
        dim,
        num_heads,
        *,
        input_resolution=None,
        window_size=7,
        shift_size=0,
        mlp_ratio=4.0,
        qkv_bias=True,
        drop=0.0,
        attn_drop=0.0,
        drop_path=0.0,
        always_shift=False,
        **attention,
    ):
        super().__init__()
        window_size, shift_size = check_whole("window_size", window_size), check_whole("shift_size", shift_size, 0)
        if shift_size >= window_size:
            raise ValueError(f"shift_size: expected 0 <= shift < window_size={window_size}, got {shift_size}")
        self.dim = dim
        self.input_resolution = None if input_resolution is None else check_grid("input_resolution", input_resolution)
        self.window_size, self.shift_size = window_size, shift_size
        self.shift_on_other_grids, self.always_shift = shift_size, always_shift
        if input_resolution is not None and min(input_resolution) <= window_size and not always_shift:
            self.window_size, self.shift_size = min(input_resolution), 0
            self.shift_on_other_grids = min(shift_size, self.window_size // 2)

        attention |= {"qkv_bias": qkv_bias, "attn_drop": attn_drop, "proj_drop": drop}
        self.norm1 = LayerNorm(dim)
        self.attn = self.Attention(dim, self.window_size, num_heads, **attention)
        self.drop_path1 = DropPath(drop_path)
        self.norm2 = LayerNorm(dim)
        self.mlp = Mlp(dim, int(dim * mlp_ratio), drop)
        self.drop_path2 = DropPath(drop_path)

    def forward(self, x, grid):
        """x (n, h·w, c), grid (h, w) → (n, h·w, c). Raises ValueError for another shape."""
        check_tokens(x, grid, self.dim)
        x = x + self.drop_path1(self.attend(self.norm1(x), grid))
        x = x + self.drop_path2(self.mlp(self.norm2(x)))
        return x

    def attend(self, x, grid):
        """W-MSA or SW-MSA on a whole map. x (n, h·w, c), grid (h, w) → same shape as x."""
        mask = self.mask_for(grid, x)
        return self.in_windows(x, grid, lambda windows: self.attn(windows, mask))

    def in_windows(self, x, grid, work):
        """Cut the map x (n, h·w, c) into windows, apply `work` to them, and put them together again.

        work: takes and returns windows (n, k, m, c).
        """
        H, W = grid
        rows, columns = self.shift_for(grid)
        x = rearrange(x, "n (h w) c -> n h w c", h=H)
        x = pad_to_multiple(x, self.window_size)  # before the shift, so that padding stays at the border
        padded = x.shape[1:3]
        x = cyclic_shift(x, (rows, columns))
        windows = window_partition(x, self.window_size)
        windows = work(windows)
        x = window_reverse(windows, self.window_size, *padded)
        x = cyclic_shift(x, (-rows, -columns))
        return rearrange(x[:, :H, :W], "n h w c -> n (h w) c")

    def shift_for(self, grid):
        """How many (rows, columns) a map of this grid is shifted by.

        On any grid but the one that the model is built for, an axis that fits into one window is not shifted, unless
        always_shift.
        """
        if self.always_shift or tuple(grid) == self.input_resolution:
            return self.shift_size, self.shift_size
        return tuple(self.shift_on_other_grids if side > self.window_size else 0 for side in grid)

    def mask_for(self, grid, x):
        """The shift mask (windows, tokens, tokens) for the padded map, in the type of x; None if nothing is shifted."""
        shift = self.shift_for(grid)
        if shift == (0, 0):
            return None
        padded = [-(-side // self.window_size) * self.window_size for side in grid]
        return shift_mask(*padded, self.window_size, shift).to(x)


class SwinTransformerBlockV2(SwinTransformerBlock):
    """x + norm(attention(x)), then x + norm(mlp(x)), with V2's attention (Liu et al. 2022, section 3.2).

    Each branch's output is normalised: the norms' weights and biases alone limit how far a block can move the stream.
    The arguments are those of SwinTransformerBlock, and pretrained_window_size, described at WindowAttentionV2.
    """

    Attention = WindowAttentionV2

    def forward(self, x, grid):
        """x (n, h·w, c), grid (h, w) → (n, h·w, c). Raises ValueError for another shape."""
        check_tokens(x, grid, self.dim)
        x = x + self.drop_path1(self.norm1(self.attend(x, grid)))
        x = x + self.drop_path2(self.norm2(self.mlp(x)))
        return x
