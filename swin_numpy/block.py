"""The Swin block: attention inside windows, then an MLP, each on a residual path (Liu et al. 2021, eq. 3)."""

from einops import rearrange

from .layers import DropPath, LayerNorm, Mlp
from .module import Module
from .patches import check_tokens
from .window_attention import WindowAttention, WindowAttentionV2
from .windows import cyclic_shift, pad_to_multiple, shift_mask, window_partition, window_reverse


class SwinTransformerBlock(Module):
    """x + attention(norm(x)), then x + mlp(norm(x)). Tokens (n, h·w, c) in, tokens (n, h·w, c) out.

    dim: channels c. input_resolution: the grid (h, w) that the model is built for, or None for any.
    shift_size: 0 for W-MSA, window_size // 2 for SW-MSA. A window never exceeds the built grid: if the
    smaller side fits into one window, the window shrinks to it and nothing is shifted (official code).
    """

    def __init__(
        self,
        dim,
        num_heads,
        input_resolution=None,
        window_size=7,
        shift_size=0,
        mlp_ratio=4.0,
        qkv_bias=True,
        drop=0.0,
        attn_drop=0.0,
        drop_path=0.0,
    ):
        super().__init__()
        check_shift_size(shift_size, window_size)
        self.dim = dim
        self.input_resolution = None if input_resolution is None else tuple(input_resolution)
        self.window_size, self.shift_size, self.other_shift = window_size, shift_size, shift_size
        if input_resolution is not None and min(input_resolution) <= window_size:
            self.window_size, self.shift_size = min(input_resolution), 0
            self.other_shift = min(shift_size, self.window_size // 2)

        self.norm1 = LayerNorm(dim)
        self.attn = WindowAttention(dim, self.window_size, num_heads, qkv_bias, attn_drop, drop)
        self.drop_path1 = DropPath(drop_path)
        self.norm2 = LayerNorm(dim)
        self.mlp = Mlp(dim, int(dim * mlp_ratio), drop)
        self.drop_path2 = DropPath(drop_path)

    def forward(self, x, grid):
        """x (n, h·w, c), grid (h, w) → (n, h·w, c)."""
        check_tokens(x, grid, self.dim)
        self.save(grid)
        x = x + self.drop_path1(self.attend(self.norm1(x), grid))
        x = x + self.drop_path2(self.mlp(self.norm2(x)))
        return x

    def backward(self, dy):
        """dy (n, h·w, c) → dx (n, h·w, c). A sum hands its gradient on to both summands."""
        (grid,) = self.saved
        dy = dy + self.norm2.backward(self.mlp.backward(self.drop_path2.backward(dy)))
        dy = dy + self.norm1.backward(self.attend_backward(self.drop_path1.backward(dy), grid))
        return dy

    def attend(self, x, grid):
        """W-MSA or SW-MSA on a whole map: pad, shift, cut into windows, attend, and all of it back."""
        H, W = grid
        shift = self.shift_for(grid)
        x = rearrange(x, "n (h w) c -> n h w c", h=H)
        x = pad_to_multiple(x, self.window_size)  # before the shift: padding then never lands amid the image
        padded = x.shape[1:3]
        x = cyclic_shift(x, shift)
        windows = window_partition(x, self.window_size)
        windows = self.attn(windows, self.mask_for(padded, shift, x))
        x = window_reverse(windows, self.window_size, *padded)
        x = cyclic_shift(x, (-shift[0], -shift[1]))
        return rearrange(x[:, :H, :W], "n h w c -> n (h w) c")

    def attend_backward(self, dx, grid):
        """The steps of `attend` from the last to the first, each turned round: cropping's backward is padding."""
        H, W = grid
        shift = self.shift_for(grid)
        dx = rearrange(dx, "n (h w) c -> n h w c", h=H)
        dx = pad_to_multiple(dx, self.window_size)
        padded = dx.shape[1:3]
        dx = cyclic_shift(dx, shift)
        dwindows = window_partition(dx, self.window_size)
        dwindows = self.attn.backward(dwindows)
        dx = window_reverse(dwindows, self.window_size, *padded)
        dx = cyclic_shift(dx, (-shift[0], -shift[1]))
        return rearrange(dx[:, :H, :W], "n h w c -> n (h w) c")

    def shift_for(self, grid):
        """(rows, columns) to shift by. Another grid than the built one: none on an axis that is one window."""
        if tuple(grid) == self.input_resolution:
            return self.shift_size, self.shift_size
        return tuple(self.other_shift if side > self.window_size else 0 for side in grid)

    def mask_for(self, padded, shift, x):
        """The shift mask (windows, tokens, tokens) in the type of x; None where nothing is shifted."""
        if shift == (0, 0):
            return None
        return shift_mask(*padded, self.window_size, shift).astype(x.dtype)


class SwinTransformerBlockV2(SwinTransformerBlock):
    """x + norm(attention(x)), then x + norm(mlp(x)): what is added has a set size (Liu et al. 2022, section 3.2).

    The attention is V2's too. pretrained_window_size: see there. The rest is SwinTransformerBlock's.
    """

    def __init__(
        self,
        dim,
        num_heads,
        input_resolution=None,
        window_size=7,
        shift_size=0,
        mlp_ratio=4.0,
        qkv_bias=True,
        drop=0.0,
        attn_drop=0.0,
        drop_path=0.0,
        pretrained_window_size=0,
    ):
        super().__init__(
            dim, num_heads, input_resolution, window_size, shift_size, mlp_ratio, qkv_bias, drop, attn_drop, drop_path
        )
        self.attn = WindowAttentionV2(
            dim, self.window_size, num_heads, qkv_bias, attn_drop, drop, pretrained_window_size
        )

    def forward(self, x, grid):
        """x (n, h·w, c), grid (h, w) → (n, h·w, c)."""
        check_tokens(x, grid, self.dim)
        self.save(grid)
        x = x + self.drop_path1(self.norm1(self.attend(x, grid)))
        x = x + self.drop_path2(self.norm2(self.mlp(x)))
        return x

    def backward(self, dy):
        """dy (n, h·w, c) → dx (n, h·w, c)."""
        (grid,) = self.saved
        dy = dy + self.mlp.backward(self.norm2.backward(self.drop_path2.backward(dy)))
        dy = dy + self.attend_backward(self.norm1.backward(self.drop_path1.backward(dy)), grid)
        return dy


def check_shift_size(shift_size, window_size):
    if not 0 <= shift_size < window_size:
        raise ValueError(f"shift_size: expected 0 <= shift < window_size={window_size}, got {shift_size}")
