"""The whole model against an independent implementation: transformers, through its own checkpoints."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

import swin_numpy  # noqa: E402
import swin_torch  # noqa: E402
from swin_numpy.checkpoint import convert_state_dict, export_state_dict, infer_config  # noqa: E402
from swin_numpy.config import SwinConfig  # noqa: E402

# Sizes that take every turn but one: a V1 window that shrinks to its grid, which transformers can't run.
CASES = {
    "last stage is one window": dict(img_size=56, window_size=7),
    "maps are padded": dict(img_size=72, window_size=4),
    "even window": dict(img_size=64, window_size=4, mlp_ratio=2.0),
    "no bias for query, key and value": dict(img_size=32, window_size=4, qkv_bias=False),
    "absolute position embedding": dict(img_size=32, window_size=4, ape=True),
    "another patch and other channels": dict(img_size=24, window_size=3, patch_size=2, in_chans=1),
    "one stage of one block": dict(img_size=16, window_size=2, depths=(1,), num_heads=(2,)),
}
SHRINKS = {"windows shrink": dict(img_size=32, window_size=7)}
SIZES = dict(embed_dim=24, depths=(2, 3), num_heads=(2, 4), num_classes=10, drop_path_rate=0.0)


def small_config(case):
    sizes = SIZES | (CASES | SHRINKS)[case]
    return SwinConfig(**sizes, pretrained_window_sizes=(0,) * len(sizes["depths"]))


def peer_model(config):
    """transformers' model of the same sizes, every parameter random."""
    theirs = transformers.SwinConfig(
        image_size=config.img_size,
        patch_size=config.patch_size,
        num_channels=config.in_chans,
        embed_dim=config.embed_dim,
        depths=list(config.depths),
        num_heads=list(config.num_heads),
        window_size=config.window_size,
        mlp_ratio=config.mlp_ratio,
        qkv_bias=config.qkv_bias,
        use_absolute_embeddings=config.ape,
        num_labels=config.num_classes,
    )
    model = transformers.SwinForImageClassification(theirs).double().eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64) * 0.3)
    return model


def peer_outputs(model, images):
    """Logits, and each stage's tokens before its PatchMerging."""
    stages = []
    hooks = [
        stage.blocks[-1].register_forward_hook(lambda _, __, output: stages.append(first(output).numpy()))
        for stage in model.swin.encoder.layers
    ]
    with torch.no_grad():
        logits = model(torch.from_numpy(images)).logits.numpy()
    for hook in hooks:
        hook.remove()
    return logits, stages


def first(output):
    return output[0] if isinstance(output, tuple) else output


def assert_close(found, expected):
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= 1e-9 * np.abs(expected).max()


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("package", [swin_numpy, swin_torch])
def test_logits_and_stages_are_those_of_transformers(case, package):
    config = small_config(case)
    peer = peer_model(config)
    images = np.random.default_rng(1).normal(size=(2, config.in_chans, config.img_size, config.img_size))
    logits, stages = peer_outputs(peer, images)

    state = convert_state_dict(peer.state_dict())
    if package is swin_numpy:
        model = swin_numpy.SwinTransformer(config, dtype=np.float64)
        model.load_state_dict(state)
        found = model(images), [tokens for tokens, _ in model.forward_stages(images)]
    else:
        model = swin_torch.SwinTransformer(config).double().eval()
        model.load_state_dict({name: torch.from_numpy(value) for name, value in state.items()})
        with torch.no_grad():
            inputs = torch.from_numpy(images)
            found = model(inputs).numpy(), [tokens.numpy() for tokens, _ in model.forward_stages(inputs)]

    assert_close(found[0], logits)
    assert len(found[1]) == len(stages)
    for ours, theirs in zip(found[1], stages, strict=True):
        assert_close(ours, theirs)


@pytest.mark.parametrize("case", CASES)
def test_their_strict_loader_takes_what_we_export(case):
    config = small_config(case)
    state = swin_numpy.SwinTransformer(config, seed=5).state_dict()
    peer = peer_model(config)
    exported = export_state_dict(state, "transformers")
    peer.load_state_dict({name: torch.from_numpy(value) for name, value in exported.items()}, strict=True)
    for name, value in convert_state_dict(peer.state_dict()).items():
        np.testing.assert_array_equal(value, state[name])


@pytest.mark.parametrize("case", CASES | SHRINKS)
def test_an_inferred_configuration_gives_the_same_logits(case):
    config = small_config(case)
    model = swin_numpy.SwinTransformer(config, seed=5, dtype=np.float64)
    inferred = infer_config(model.state_dict())
    other = swin_numpy.SwinTransformer(inferred, dtype=np.float64)
    other.load_state_dict(model.state_dict())
    images = np.random.default_rng(1).normal(size=(1, config.in_chans, config.img_size, config.img_size))
    assert_close(other(images), model(images))


def test_saved_by_transformers_and_read_as_a_file(tmp_path):
    config = small_config("last stage is one window")
    peer = peer_model(config)
    peer.save_pretrained(tmp_path)
    state = swin_numpy.checkpoint.load_checkpoint(tmp_path / "model.safetensors")
    expected = convert_state_dict(peer.state_dict())
    assert state.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(state[name], value)
