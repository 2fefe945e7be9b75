"""Swin as a backbone: feature maps for detection and segmentation, instead of classes."""

from dataclasses import replace

import numpy as np
from einops import rearrange

from .layers import LayerNorm, undrawn
from .model import SwinTransformer, check_config, check_gradient, check_indices, with_weights
from .weights.load import load_weights


class Backbone(SwinTransformer):
    """A pyramid of feature maps, as a detector or segmenter wants them: strides 4, 8, 16, 32.

    config: a SwinConfig; its num_classes doesn't matter. out_indices: the stages whose maps come out, None for all.
    norm: each of these maps through a layer norm of its own, norm0, norm1, …, as in
    Microsoft's mmdet/models/backbones/swin_transformer.py.
    seed, dtype: as SwinTransformer's.
    """

    def __init__(self, config, out_indices=None, norm=True, seed=0, dtype=np.float32):
        check_config(config)
        super().__init__(replace(config, num_classes=0), seed)
        self.out_indices = check_indices(out_indices, len(config.depths))
        self.norm = None  # a classifier's
        for i in self.out_indices if norm else ():
            setattr(self, f"norm{i}", LayerNorm(config.widths[i]))
        self.to(dtype)

    def forward(self, images):
        """images (n, c, H, W) → for each stage of out_indices a map (n, channels, h, w), h = ⌈H/stride⌉."""
        maps = []
        stages = self.forward_stages(images, self.out_indices)
        for i, (x, (h, _)) in zip(self.out_indices, stages, strict=True):
            norm = getattr(self, f"norm{i}", None)
            x = x if norm is None else norm(x)
            maps.append(rearrange(x, "n (h w) c -> n c h w", h=h))
        self.save([x.shape for x in maps])
        return maps

    def backward(self, dmaps):
        """The gradients of the maps that forward gave → dimages (n, c, H, W). Adds to every parameter's `.grad`."""
        (shapes,) = self.saved
        dstages = []
        for i, dmap, shape in zip(self.out_indices, dmaps, shapes, strict=True):
            check_gradient(dmap, shape)
            dx = rearrange(dmap, "n c h w -> n (h w) c")
            norm = getattr(self, f"norm{i}", None)
            dstages.append(dx if norm is None else norm.backward(dx))
        return self.backward_stages(dstages, self.out_indices)

    @classmethod
    def from_checkpoint(cls, path, config=None, out_indices=None, norm=True, **fields):
        """The backbone in a classifier's, backbone's, detector's or segmenter's file; see SwinTransformer's.

        A file without norm0, norm1, … gives them as they start; a classifier's norm and head are left out.
        """
        norms = () if not norm else "all" if out_indices is None else out_indices
        state, config = load_weights(path, config, norms, **fields)
        with undrawn():
            model = cls(config, out_indices, norm)
        return with_weights(model, state)
