"""What the chapters say of installed packages, where no other test holds it. Skipped where the package isn't there."""

import os
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint


class Listener(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.heard = set()

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        self.heard.add(operation.name())
        return operation(*args, **(kwargs or {}))


def test_pytorch_warns_of_t_on_more_than_two_axes():  # chapter 01, Traps
    torch.set_warn_always(True)  # else only the first use in a process warns
    try:
        with pytest.warns(UserWarning, match="deprecated"):
            assert torch.zeros(2, 3, 4).T.shape == (4, 3, 2)
    finally:
        torch.set_warn_always(False)
    assert torch.zeros(2, 3, 4).mT.shape == np.zeros((2, 3, 4)).mT.shape == (2, 4, 3)


def test_pytorchs_attention_is_fused_with_two_axes_in_front_only():  # chapter 01, a comment
    for shape, is_fused in (((1, 1, 4, 4), True), ((4, 4), False)):
        with Listener() as listener:
            F.scaled_dot_product_attention(*torch.randn(3, *shape))
        assert any("flash" in name for name in listener.heard) == is_fused


def test_meshgrid_is_ij_in_pytorch_and_xy_in_numpy():  # chapter 04, Q18
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the default will be "xy" one day
        rows, _ = torch.meshgrid(torch.arange(3), torch.arange(4))
    assert rows.shape == (3, 4)
    assert np.meshgrid(np.arange(3), np.arange(4))[0].shape == (4, 3)


def test_checkpoint_drops_the_same_numbers_twice():  # chapter 10, Traps
    x = torch.ones(1000, requires_grad=True)
    y = checkpoint(lambda x: F.dropout(x, 0.5), x, use_reentrant=False)
    y.sum().backward()
    assert torch.equal(x.grad, y.detach())  # 0 or 2 in the same places


def test_a_tensor_of_float32_stays_float32_beside_numpys_float64():  # chapter 13, Traps
    assert (torch.ones(2) * (1 / np.sqrt(32))).dtype == torch.float32
    assert (np.ones(2, np.float32) * (1 / np.sqrt(32))).dtype == np.float64


def test_autocast_keeps_softmax_and_norms_in_float32_and_products_not():  # chapter 13
    if not torch.cuda.is_available():
        pytest.skip("no GPU: what autocast does there is not looked at")
    x = torch.randn(4, 8, device="cuda")
    with torch.autocast("cuda", torch.float16):
        assert (x @ x.T).dtype == torch.float16
        half = x.half()
        assert {half.softmax(-1).dtype, F.layer_norm(half, (8,)).dtype, half.sum().dtype} == {torch.float32}


def test_on_a_gpu_the_flash_kernel_takes_no_mask_and_the_memory_efficient_one_does():  # chapter 13, Q73
    if not torch.cuda.is_available():
        pytest.skip("no GPU: its kernels are not looked at")
    from torch.backends.cuda import SDPAParams, can_use_efficient_attention, can_use_flash_attention

    q = torch.randn(2, 3, 64, 32, device="cuda", dtype=torch.float16)
    for mask, flash in ((None, True), (torch.zeros(2, 3, 64, 64, device="cuda", dtype=torch.float16), False)):
        params = SDPAParams(q, q, q, mask, 0.0, False, False)
        assert can_use_flash_attention(params) == flash and can_use_efficient_attention(params)


def test_bloom_stacks_queries_keys_and_values_head_by_head():  # chapter 01, Q05
    bloom = pytest.importorskip("transformers.models.bloom.modeling_bloom", reason="transformers is not installed")
    attention = bloom.BloomAttention(bloom.BloomConfig(hidden_size=8, n_head=2), layer_idx=0)
    numbers = torch.arange(24.0).reshape(1, 1, 24)  # (a three d): head 0 has 0 … 3, 4 … 7, 8 … 11
    queries, keys, values = attention._reshape(numbers)
    assert queries[0, :, 0].tolist() == [[0, 1, 2, 3], [12, 13, 14, 15]]
    assert keys[0, 0, 0, 0] == 4 and values[0, 0, 0, 0] == 8


ODD = (30, 37)  # pixels that patches of 4 don't divide; 7 x 9 whole patches, 8 x 10 with the rest


def test_torchvision_drops_the_rest_of_a_patch():  # chapter 02
    peers = pytest.importorskip("torchvision.models.swin_transformer", reason="torchvision is not installed")
    embed = peers.SwinTransformer([4, 4], 8, [2], [1], [7, 7]).features[0]
    assert embed(torch.zeros(1, 3, *ODD)).shape[1:3] == (7, 9)


def test_transformers_pads_it():  # chapter 02
    peers = pytest.importorskip("transformers.models.swin.modeling_swin", reason="transformers is not installed")
    embed = peers.SwinPatchEmbeddings(peers.SwinConfig(image_size=32, embed_dim=8))
    assert embed(torch.zeros(1, 3, *ODD))[1] == (8, 10)


@pytest.mark.parametrize("version", ["", "_v2"])
def test_timm_refuses_another_size_than_it_was_built_for(version):  # chapter 02
    timm = pytest.importorskip("timm", reason="timm is not installed")
    name = "swinv2_tiny_window8_256" if version else "swin_tiny_patch4_window7_224"
    model = timm.create_model(name, embed_dim=12, num_heads=(1, 2, 4, 8), depths=(1, 1, 1, 1))
    with pytest.raises(AssertionError, match="Input height"):
        model(torch.zeros(1, 3, *ODD))


@pytest.mark.parametrize("version", ["", "_v2"])
def test_timm_rolls_before_it_pads(version):  # chapters 05 and 11
    timm = pytest.importorskip(f"timm.models.swin_transformer{version}", reason="timm is not installed")
    block = (timm.SwinTransformerV2Block if version else timm.SwinTransformerBlock)(
        dim=4, input_resolution=(9, 9), num_heads=1, window_size=4, shift_size=2
    )
    seen = []
    block.attn.forward = lambda x, mask=None: seen.append(x) or x
    x = torch.arange(1.0, 82.0).reshape(1, 9, 9, 1).expand(-1, -1, -1, 4)  # 0 is padding
    block._attn(x)
    rolled = F.pad(x.roll((-2, -2), (1, 2)), (0, 0, 0, 3, 0, 3))
    padded = F.pad(x, (0, 0, 0, 3, 0, 3)).roll((-2, -2), (1, 2))
    cut = [each.reshape(3, 4, 3, 4, 4).swapaxes(1, 2).reshape(9, 16, 4) for each in (rolled, padded)]
    assert torch.equal(seen[0], cut[0]) and not torch.equal(seen[0], cut[1])


def test_preprocessing_of_swin_t_by_library():  # chapter 11, Q59
    weights = pytest.importorskip("torchvision.models", reason="torchvision is not installed")
    for letter, size in (("T", 232), ("S", 246), ("B", 238)):
        transform = getattr(weights, f"Swin_{letter}_Weights").IMAGENET1K_V1.transforms()
        assert (transform.resize_size, transform.crop_size) == ([size], [224])
        assert transform.interpolation.value == "bicubic"


def test_timms_recipe_of_swin_t():  # chapter 11, Q59
    timm = pytest.importorskip("timm", reason="timm is not installed")
    config = timm.get_pretrained_cfg("swin_tiny_patch4_window7_224.ms_in1k")
    assert (config.crop_pct, config.interpolation, int(224 / config.crop_pct)) == (0.9, "bicubic", 248)


def test_torchvision_gives_linear_the_weights_of_qkv_and_proj_itself():  # chapter 08, Q48
    peers = pytest.importorskip("torchvision.models.swin_transformer", reason="torchvision is not installed")
    attention = peers.ShiftedWindowAttention(8, [4, 4], [0, 0], 2)
    called = []
    for layer in (attention.qkv, attention.proj):
        layer.register_forward_hook(lambda *_: called.append(1))
    attention(torch.zeros(1, 4, 4, 8))
    assert not called


def test_timms_vit_interpolates_its_positions_if_told_to():  # chapter 11, Q63
    vit = pytest.importorskip("timm.models.vision_transformer", reason="timm is not installed").VisionTransformer
    sizes = {"img_size": 32, "patch_size": 8, "embed_dim": 8, "depth": 1, "num_heads": 1, "num_classes": 2}
    assert vit(**sizes, dynamic_img_size=True)(torch.zeros(1, 3, 64, 64)).shape == (1, 2)
    with pytest.raises(AssertionError):
        vit(**sizes)(torch.zeros(1, 3, 64, 64))


def test_numpys_blas_obeys_the_variables_of_worker_count():  # docstring of runtime/threads.py
    pools = "{pool['num_threads'] for pool in threadpoolctl.threadpool_info() if pool['user_api'] == 'blas'}"
    code = f"import numpy, threadpoolctl; print({pools})"
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
        clean = {k: v for k, v in os.environ.items() if not k.endswith("_NUM_THREADS")}
        run = subprocess.run([sys.executable, "-c", code], env=clean | {name: "1"}, capture_output=True, text=True)
        assert run.stdout.strip() == "{1}"
