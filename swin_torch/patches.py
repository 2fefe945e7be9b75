"""From pixels to tokens (PatchEmbed), and from a fine grid of tokens to one half as fine (PatchMerging)."""

from einops import rearrange
from torch.nn import Conv2d, LayerNorm, Linear, Module
from torch.nn.functional import linear

from .windows import check_array, pad_to_multiple, pair


class PatchEmbed(Module):
    """Cut the image into patches, and map each patch's numbers to `embed_dim` channels with one matrix.

    That is the convolution of the official code: with stride = kernel size, no two patches share a pixel.
    """

    def __init__(self, patch_size=4, in_chans=3, embed_dim=96, patch_norm=True):
        super().__init__()
        self.patch_size = patch_size
        self.in_chans = in_chans
        self.proj = Conv2d(in_chans, embed_dim, kernel_size=patch_size, stride=patch_size)
        self.norm = LayerNorm(embed_dim) if patch_norm else None

    def forward(self, images):
        """images (n, c, H, W) → tokens (n, h·w, embed_dim) and their grid (h, w) = (⌈H/p⌉, ⌈W/p⌉)."""
        check_images(images, self.in_chans)
        p = self.patch_size
        x = pad_to_multiple(rearrange(images, "n c H W -> n H W c"), p)
        grid = x.shape[1] // p, x.shape[2] // p
        patches = rearrange(x, "n (h p1) (w p2) c -> n (h w) (c p1 p2)", p1=p, p2=p)
        weight = rearrange(self.proj.weight, "e c p1 p2 -> e (c p1 p2)")
        x = linear(patches, weight, self.proj.bias)
        if self.norm is not None:
            x = self.norm(x)
        return x, grid


class PatchMerging(Module):
    """Four neighbours become one token: their channels side by side (4c), normed, mapped to 2c."""

    def __init__(self, dim):
        super().__init__()
        self.dim = dim
        self.reduction = Linear(4 * dim, 2 * dim, bias=False)
        self.norm = LayerNorm(4 * dim)

    def forward(self, x, grid):
        """x (n, h·w, c), grid (h, w) → (n, h/2·w/2, 2c), (h/2, w/2). Odd sides are padded with zeros."""
        x, grid = self.neighbours(x, grid)
        return self.reduction(self.norm(x)), grid

    def neighbours(self, x, grid):
        """Four tokens side by side as one: x (n, h·w, c), grid (h, w) → (n, h/2·w/2, 4c), (h/2, w/2)."""
        check_tokens(x, grid, self.dim)
        x = pad_to_multiple(rearrange(x, "n (h w) c -> n h w c", h=grid[0]), 2)
        grid = x.shape[1] // 2, x.shape[2] // 2
        # (p2 p1 c): the official order, in which the row offset runs fastest: (0,0) (1,0) (0,1) (1,1)
        return rearrange(x, "n (h p1) (w p2) c -> n (h w) (p2 p1 c)", p1=2, p2=2), grid


class PatchMergingV2(PatchMerging):
    """The same four neighbours, mapped to 2c, and normed only then."""

    def __init__(self, dim):
        super().__init__(dim)
        self.norm = LayerNorm(2 * dim)

    def forward(self, x, grid):
        """x (n, h·w, c), grid (h, w) → (n, h/2·w/2, 2c), (h/2, w/2). Odd sides are padded with zeros."""
        x, grid = self.neighbours(x, grid)
        return self.norm(self.reduction(x)), grid


def check_images(images, in_chans):
    check_array("images", images)
    if images.ndim != 4 or images.shape[1] != in_chans or 0 in images.shape:
        raise ValueError(f"expected images (n, {in_chans}, height, width), got shape {tuple(images.shape)}")


def check_tokens(x, grid, dim):
    check_array("x", x)
    h, w = pair(grid)
    if x.ndim != 3 or tuple(x.shape[1:]) != (h * w, dim) or min(h, w) < 1:
        raise ValueError(f"expected tokens (n, {h}·{w}, {dim}) for a grid of {h}x{w}, got shape {tuple(x.shape)}")
