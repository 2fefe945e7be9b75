"""From pixels to tokens (PatchEmbed), and from a grid of tokens to one of half the height and width (PatchMerging)."""

from einops import rearrange

from .layers import Conv2d, LayerNorm, Linear
from .module import Module, check_dtype, check_shape, check_whole
from .windows import pad_to_multiple, pair


class PatchEmbed(Module):
    """Cut the image into patches, and map each patch's numbers to `embed_dim` channels with one matrix.

    That is a convolution whose stride is its kernel size: no two patches share a pixel.
    """

    def __init__(self, patch_size=4, in_chans=3, embed_dim=96, patch_norm=True):
        super().__init__()
        self.patch_size = patch_size = check_whole("patch_size", patch_size)
        self.in_chans = in_chans = check_whole("in_chans", in_chans)
        embed_dim = check_whole("embed_dim", embed_dim)
        self.proj = Conv2d(in_chans, embed_dim, kernel_size=patch_size, stride=patch_size)
        self.norm = LayerNorm(embed_dim) if patch_norm else None

    def forward(self, images):
        """images (n, c, H, W) → tokens (n, h·w, embed_dim) and their grid (h, w) = (⌈H/p⌉, ⌈W/p⌉).

        Sides that p doesn't divide are padded with zeros. Raises ValueError for another number of channels, TypeError
        for images of another type than the weights.
        """
        check_images(images, self.in_chans)
        check_dtype("images", images, next((weight for _, weight in self.named_parameters()), images))
        self.save(images.shape[2:])
        x = pad_to_multiple(rearrange(images, "n c H W -> n H W c"), self.patch_size)
        x = self.proj(rearrange(x, "n H W c -> n c H W"))
        _, _, h, w = x.shape
        x = rearrange(x, "n e h w -> n (h w) e")
        if self.norm is not None:
            x = self.norm(x)
        return x, (h, w)

    def backward(self, dy):
        """dy (n, h·w, embed_dim) → dimages (n, c, H, W). Padding's gradient is cut off."""
        ((H, W),) = self.saved
        if self.norm is not None:
            dy = self.norm.backward(dy)
        dy = rearrange(dy, "n (h w) e -> n e h w", h=-(-H // self.patch_size))
        return self.proj.backward(dy)[:, :, :H, :W]


class PatchMerging(Module):
    """Four neighbours become one token: their channels side by side (4c), normed, mapped to 2c.

    dim: channels c of the tokens that come in.
    """

    def __init__(self, dim):
        super().__init__()
        self.dim = dim = check_whole("dim", dim)
        self.reduction = Linear(4 * dim, 2 * dim, bias=False)
        self.norm = LayerNorm(4 * dim)

    def forward(self, x, grid):
        """x (n, h·w, c), grid (h, w) → (n, h/2·w/2, 2c), (h/2, w/2). Odd sides are padded with zeros."""
        x, grid = self.neighbours(x, grid)
        return self.reduction(self.norm(x)), grid

    def backward(self, dy):
        """dy (n, h/2·w/2, 2c) → dx (n, h·w, c)."""
        return self.neighbours_backward(self.norm.backward(self.reduction.backward(dy)))

    def neighbours(self, x, grid):
        """Four tokens side by side as one: x (n, h·w, c), grid (h, w) → (n, h/2·w/2, 4c), (h/2, w/2)."""
        check_tokens(x, grid, self.dim)
        self.save(grid)
        x = pad_to_multiple(rearrange(x, "n (h w) c -> n h w c", h=grid[0]), 2)
        grid = x.shape[1] // 2, x.shape[2] // 2
        # (p2 p1 c): the official order, in which the row offset runs fastest: (0,0) (1,0) (0,1) (1,1)
        return rearrange(x, "n (h p1) (w p2) c -> n (h w) (p2 p1 c)", p1=2, p2=2), grid

    def neighbours_backward(self, dx):
        """dx (n, h/2·w/2, 4c) → (n, h·w, c)."""
        ((H, W),) = self.saved
        dx = rearrange(dx, "n (h w) (p2 p1 c) -> n (h p1) (w p2) c", h=-(-H // 2), p1=2, p2=2)
        return rearrange(dx[:, :H, :W], "n h w c -> n (h w) c")


class PatchMergingV2(PatchMerging):
    """The same four neighbours, first mapped to 2c, then normed."""

    def __init__(self, dim):
        super().__init__(dim)
        self.norm = LayerNorm(2 * dim)

    def forward(self, x, grid):
        """x (n, h·w, c), grid (h, w) → (n, h/2·w/2, 2c), (h/2, w/2). Odd sides are padded with zeros."""
        x, grid = self.neighbours(x, grid)
        return self.norm(self.reduction(x)), grid

    def backward(self, dy):
        """dy (n, h/2·w/2, 2c) → dx (n, h·w, c)."""
        return self.neighbours_backward(self.reduction.backward(self.norm.backward(dy)))


def check_images(images, in_chans):
    """Raise unless images are (n, in_chans, H, W)."""
    check_shape("images", images, "n", in_chans, "H", "W")


def check_grid(name, grid):
    """`grid` as (h, w). Raises TypeError unless it is a pair of whole numbers, ValueError if one is less than 1."""
    if not isinstance(grid, tuple | list):
        raise TypeError(f"{name}: expected (rows, columns), got {grid!r}")
    return pair(name, grid)


def check_tokens(x, grid, dim):
    """Raise unless grid is (h, w) and x (n, h·w, dim)."""
    h, w = check_grid("grid", grid)
    check_shape(f"tokens of a {h}x{w} grid", x, "n", h * w, dim)
