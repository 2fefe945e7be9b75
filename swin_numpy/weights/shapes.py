"""The official names and shapes of every parameter that a configuration calls for, without building its model."""


def model_shapes(config, norms=None):
    """{official name: shape} of the SwinTransformer of `config`, or of its Backbone.

    norms   None: a SwinTransformer. Else numbers of the stages of a Backbone whose output has a norm of its own.
    """
    shapes = {"patch_embed.proj.weight": (config.embed_dim, config.in_chans, config.patch_size, config.patch_size)}
    shapes["patch_embed.proj.bias"] = (config.embed_dim,)
    if config.patch_norm:
        shapes |= _norm("patch_embed.norm", config.embed_dim)
    if config.ape:
        rows, columns = config.grids[0]
        shapes["absolute_pos_embed"] = (1, rows * columns, config.embed_dim)
    for stage, width in enumerate(config.widths):
        block = _block_shapes(config, stage)
        for i in range(config.depths[stage]):
            shapes |= {f"layers.{stage}.blocks.{i}.{name}": shape for name, shape in block.items()}
        if stage + 1 < len(config.depths):
            shapes[f"layers.{stage}.downsample.reduction.weight"] = (2 * width, 4 * width)
            shapes |= _norm(f"layers.{stage}.downsample.norm", 4 * width if config.version == 1 else 2 * width)
    if norms is not None:
        for stage in norms:
            shapes |= _norm(f"norm{stage}", config.widths[stage])
        return shapes
    shapes |= _norm("norm", config.widths[-1])
    return shapes | (_linear("head", config.widths[-1], config.num_classes) if config.num_classes else {})


def _block_shapes(config, stage):
    width, heads, window = config.widths[stage], config.num_heads[stage], config.windows[stage]
    hidden = int(width * config.mlp_ratio)
    shapes = _norm("norm1", width) | _norm("norm2", width)
    shapes |= _linear("attn.qkv", width, 3 * width) | _linear("attn.proj", width, width)
    shapes |= _linear("mlp.fc1", width, hidden) | _linear("mlp.fc2", hidden, width)
    if config.version == 1:
        shapes["attn.relative_position_bias_table"] = ((2 * window - 1) ** 2, heads)
        return shapes if config.qkv_bias else _without(shapes, "attn.qkv.bias")
    shapes |= _linear("attn.cpb_mlp.0", 2, 512) | {"attn.cpb_mlp.2.weight": (heads, 512)}
    shapes["attn.logit_scale"] = (heads, 1, 1)
    if config.qkv_bias:
        shapes |= {"attn.q_bias": (width,), "attn.v_bias": (width,)}
    return _without(shapes, "attn.qkv.bias")


def _norm(name, width):
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def _linear(name, inputs, outputs):
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def _without(shapes, name):
    return {key: shape for key, shape in shapes.items() if key != name}
