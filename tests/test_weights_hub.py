"""Published weights by name, from a hub that the tests start themselves on the loopback interface."""

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import swin_numpy
from swin_numpy import HubError, SwinConfig, convert_state_dict, export_state_dict, save_checkpoint
from swin_numpy.weights.hub import fetch
from swin_numpy.weights.settings import settings_of
from tests.families import transformers_config
from tests.twin import PACKAGES, inputs_for, normal, random_state, relative

pytest.importorskip("huggingface_hub", reason="huggingface_hub is not installed: published weights are not tested")
constants = pytest.importorskip("huggingface_hub.constants")

V1 = SwinConfig(img_size=64, embed_dim=12, depths=(2, 2), num_heads=(2, 3), window_size=4, num_classes=5)
V2 = replace(V1, version=2, window_size=8, pretrained_window_sizes=(4, 3))
IMAGES = normal(2, 3, 64, 64, dtype=np.float32)
REPO = "somebody/swin"


def small(seed=0, config=V1):
    """{file: bytes} of a repository, and the state dict in it."""
    model = swin_numpy.SwinTransformer(config)
    shapes = {name: value.shape for name, value in model.state_dict().items()}
    state = {name: value.astype(np.float32) for name, value in random_state(shapes, seed).items()}
    with tempfile.TemporaryDirectory() as folder:
        save_checkpoint(Path(folder) / "a.safetensors", state)
        weights = (Path(folder) / "a.safetensors").read_bytes()
    return {
        "config.json": json.dumps(settings_of(config, "transformers")).encode(),
        "model.safetensors": weights,
    }, state


def loaded(*arguments, **options):
    return swin_numpy.SwinTransformer.from_pretrained(*arguments, **options).state_dict()


def same(state, other):
    return state.keys() == other.keys() and all(np.array_equal(state[name], other[name]) for name in state)


# ---- what each library wrote ----------------------------------------------------------------------------------


def of_transformers(config, folder, **options):
    """A random model of transformers, saved as it saves itself → its logits."""
    from transformers import SwinForImageClassification, Swinv2ForImageClassification
    from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

    kind = Swinv2ForImageClassification if config.version == 2 else SwinForImageClassification
    theirs = kind(transformers_config(config)).eval()
    shapes = {name: tuple(value.shape) for name, value in theirs.named_parameters()}
    values = {name: torch.from_numpy(v.astype(np.float32)) for name, v in random_state(shapes, seed=4).items()}
    theirs.load_state_dict(values, strict=False)  # buffers stay as they are
    theirs.save_pretrained(folder, **options)
    ViTImageProcessorPil(size={"height": 64, "width": 64}).save_pretrained(folder)
    with torch.no_grad():
        return theirs, theirs(torch.from_numpy(IMAGES)).logits.numpy()


def of_microsoft(config, folder):
    """The same as Microsoft's code would save it: one .pth of its names and buffers, without settings."""
    theirs, logits = of_transformers(config, folder)
    state = convert_state_dict(theirs.state_dict())
    for path in folder.iterdir():
        path.unlink()
    named = export_state_dict(state, "microsoft", config)
    torch.save({"model": {name: torch.from_numpy(value) for name, value in named.items()}}, folder / "swin.pth")
    return theirs, logits


def of_timm(config, folder):
    """A random model of timm, saved as it uploads it."""
    timm = pytest.importorskip("timm", reason="timm is not installed: its uploads are not compared here")
    from timm.models._hub import save_for_hf

    sizes = {"embed_dim": 12, "depths": (2, 2), "num_heads": (2, 3), "img_size": 64, "num_classes": 5}
    sizes |= {"window_size": config.window_size}
    if config.version == 2:
        sizes["pretrained_window_sizes"] = config.pretrained_window_sizes
    kind = "swinv2_tiny_window8_256" if config.version == 2 else "swin_tiny_patch4_window7_224"
    theirs = timm.create_model(kind, **sizes).eval()
    shapes = {name: tuple(value.shape) for name, value in theirs.named_parameters()}
    values = {name: torch.from_numpy(v.astype(np.float32)) for name, v in random_state(shapes, seed=4).items()}
    theirs.load_state_dict(values, strict=False)
    save_for_hf(theirs, folder, model_args={name: value for name, value in sizes.items() if name != "num_classes"})
    with torch.no_grad():
        return theirs, theirs(torch.from_numpy(IMAGES)).numpy()


LAYOUTS = {
    "transformers": of_transformers,
    "transformers, sharded": lambda config, folder: of_transformers(config, folder, max_shard_size="20KB"),
    "Microsoft's .pth": of_microsoft,
    "timm": of_timm,
}


@PACKAGES
@pytest.mark.parametrize("config", [V1, V2], ids=["V1", "V2"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_each_layout_gives_the_logits_of_the_library_that_wrote_it(hub, tmp_path, layout, config, package):
    (tmp_path / "theirs").mkdir()
    _, logits = LAYOUTS[layout](config, tmp_path / "theirs")
    hub.upload_folder(REPO, tmp_path / "theirs")
    model = package.SwinTransformer.from_pretrained(REPO, cache_dir=tmp_path / "cache")
    assert replace(model.config, drop_path_rate=0.1) in (config, replace(config, img_size=None))
    with torch.no_grad():
        assert relative(np.asarray(model(*inputs_for(package, IMAGES))), logits) < 1e-5
    assert len(hub.sent("swin.pth")) == (layout == "Microsoft's .pth")


@PACKAGES
def test_a_backbone_and_other_fields(hub, tmp_path, package):
    hub.upload(REPO, small()[0])
    given = {"cache_dir": tmp_path / "cache"}
    with warnings.catch_warnings(record=True):
        warnings.simplefilter("always")
        backbone = package.Backbone.from_pretrained(REPO, out_indices=[1], norm=False, **given)
        head = package.SwinTransformer.from_pretrained(REPO, num_classes=2, **given)
    (folder,) = (tmp_path / "cache").glob("models--*/snapshots/*")
    expected = package.SwinTransformer.from_checkpoint(folder)
    assert backbone.out_indices == (1,) and head.config == replace(expected.config, num_classes=2)
    with torch.no_grad():
        (found,) = backbone(*inputs_for(package, IMAGES))
        tokens, _ = expected.forward_stages(*inputs_for(package, IMAGES))[1]
    assert np.array_equal(np.asarray(found).reshape(2, 24, -1).swapaxes(1, 2), np.asarray(tokens))


# ---- names ----------------------------------------------------------------------------------------------------


def test_a_preset_s_name_stands_for_its_repository(hub, tmp_path):
    files, state = small()
    hub.upload("timm/swin_s3_base_224.ms_in1k", files)
    assert same(loaded("swin_s3_base_224", cache_dir=tmp_path), state)


def test_a_folder_or_a_file_is_taken_as_it_is(hub, tmp_path):
    files, state = small()
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    for path in (tmp_path, str(tmp_path), tmp_path / "model.safetensors"):
        assert same(loaded(path), state)
    assert not hub.requests


@pytest.mark.parametrize("name", ["swin_giant", "a/b/c", "swin_fashion_patch2_window7_28", "a b/c", ""])
def test_any_other_name_is_refused_before_anything_is_asked(hub, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="expected a folder, owner/repository on the hub, or one of: swin_"):
        fetch(name or "nowhere")
    assert not hub.requests


def test_one_file_of_weights_is_downloaded_and_no_pickle_beside_safetensors(hub, tmp_path):
    files, state = small()
    pickles = {"pytorch_model.bin": b"no", "tf_model.h5": b"no", "README.md": b"no", "deeper/model.safetensors": b"no"}
    hub.upload(REPO, pickles | files | {"a.safetensors": b"no", "model-00001-of-00002.safetensors": b"no"})
    assert same(loaded(REPO, cache_dir=tmp_path), state)
    got = {path.rsplit("/", 1)[1] for how, path, _ in hub.requests if how == "GET" and "/resolve/" in path}
    assert got == {"config.json", "model.safetensors"}


def test_safetensors_of_any_name_come_before_a_pickle(hub, tmp_path):
    files, state = small()
    hub.upload(REPO, {"swin.safetensors": files["model.safetensors"], "swin.pth": b"no", "deeper/a.safetensors": b"no"})
    assert same(loaded(REPO, cache_dir=tmp_path), state)


def test_a_repository_without_weights_or_with_several_is_said(hub, tmp_path):
    hub.upload("a/none", {"README.md": b""})
    with pytest.raises(HubError, match=r"a/none: expected one file of weights, found no model\.safetensors"):
        fetch("a/none", cache_dir=tmp_path)
    hub.upload("a/several", {"small.pth": b"", "large.pth": b""})
    with pytest.raises(HubError, match=r"found several: large\.pth, small\.pth\. Download one and pass its path"):
        fetch("a/several", cache_dir=tmp_path)


# ---- the cache ------------------------------------------------------------------------------------------------


def test_the_second_time_no_weights_are_sent(hub, tmp_path, capfd):
    files, state = small()
    hub.upload(REPO, files)
    assert same(loaded(REPO, cache_dir=tmp_path), state)
    megabytes = sum(map(len, files.values())) / 1e6
    assert f"{REPO}: downloading {megabytes:,.1f} MB to {tmp_path}" in capfd.readouterr().err
    assert same(loaded(REPO, cache_dir=tmp_path), state)
    assert len(hub.sent("model.safetensors")) == len(hub.sent("config.json")) == 1
    assert capfd.readouterr().err == ""


def test_without_a_network_the_cache_is_used_and_said(hub, tmp_path):
    files, state = small()
    commit = hub.upload(REPO, files)
    loaded(REPO, cache_dir=tmp_path)
    hub.close()
    with pytest.warns(UserWarning, match=rf"{REPO}: .*Connect.*; the cache's copy is used, revision {commit[:7]}"):
        assert same(loaded(REPO, cache_dir=tmp_path), state)
    with pytest.raises(HubError) as error:
        loaded(REPO, cache_dir=tmp_path / "other")
    for said in (REPO, "Connect", f"the cache {tmp_path / 'other'} lacks it", "pass the cache_dir", hub.address):
        assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_hub_that_is_down_is_like_none(hub, tmp_path):
    files, state = small()
    hub.upload(REPO, files)
    loaded(REPO, cache_dir=tmp_path)
    hub.down = True
    with pytest.warns(UserWarning, match="503"):
        assert same(loaded(REPO, cache_dir=tmp_path), state)
    with pytest.raises(HubError, match=r"503.*lacks it"):
        loaded(REPO, cache_dir=tmp_path / "other")


@pytest.mark.parametrize("how", ["local_files_only", "HF_HUB_OFFLINE"])
def test_offline_on_purpose_asks_nobody_and_warns_of_nothing(hub, tmp_path, how, monkeypatch):
    files, state = small()
    hub.upload(REPO, files)
    loaded(REPO, cache_dir=tmp_path)
    hub.requests.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", how == "HF_HUB_OFFLINE")
    only = {"local_files_only": how == "local_files_only"}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert same(loaded(REPO, cache_dir=tmp_path, **only), state)
    with pytest.raises(HubError, match=r"offline, as asked, and the cache .* lacks it"):
        loaded("somebody/else", cache_dir=tmp_path, **only)
    assert not hub.requests


def test_settings_alone_in_the_cache_are_not_enough(hub, tmp_path):
    import huggingface_hub

    hub.upload(REPO, small()[0])
    huggingface_hub.hf_hub_download(REPO, "config.json", cache_dir=tmp_path)
    with pytest.raises(HubError, match="lacks it"):
        loaded(REPO, cache_dir=tmp_path, local_files_only=True)


def test_a_revision_is_a_branch_or_a_commit(hub, tmp_path):
    (old, old_state), (new, new_state) = small(1), small(2)
    commit = hub.upload(REPO, old, "main", "v1")
    assert same(loaded(REPO, cache_dir=tmp_path), old_state)
    hub.upload(REPO, new, "main")
    assert same(loaded(REPO, cache_dir=tmp_path), new_state)
    for offline in (False, True):
        for revision, state in (("v1", old_state), (commit, old_state), ("main", new_state), (None, new_state)):
            assert same(loaded(REPO, revision, tmp_path, offline), state), (revision, offline)
    assert len(hub.sent("model.safetensors")) == 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert same(loaded(REPO, "v1", tmp_path / "another"), old_state)
    with pytest.raises(HubError, match=rf"{REPO}: it has no revision 'v3'"):
        loaded(REPO, revision="v3", cache_dir=tmp_path)


# ---- what goes wrong ------------------------------------------------------------------------------------------


def test_a_transfer_that_breaks_off_is_resumed(hub, tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1000)  # what is lost when the connection breaks: 10 MB
    files, state = small()
    hub.upload(REPO, files)
    hub.cut["model.safetensors"] = 40_000
    assert same(loaded(REPO, cache_dir=tmp_path), state)
    assert hub.sent("model.safetensors") == [None, "bytes=40000-"]


def test_weights_with_another_checksum_are_deleted(hub, tmp_path):
    files, state = small()
    hub.upload(REPO, files)
    hub.spoiled.add("model.safetensors")
    with pytest.raises(HubError, match=rf"{REPO}: model\.safetensors came with another checksum than the hub's"):
        loaded(REPO, cache_dir=tmp_path)
    with pytest.raises(HubError, match="lacks it"):
        loaded(REPO, cache_dir=tmp_path, local_files_only=True)
    hub.spoiled.clear()
    assert same(loaded(REPO, cache_dir=tmp_path), state)


def test_no_such_repository_and_a_gated_one(hub, tmp_path):
    hub.upload(REPO, small()[0])
    hub.gated.add(REPO)
    for repo, said in (("some/thing", "no such repository, or a private one"), (REPO, "gated: accept its terms at")):
        with pytest.raises(HubError, match=f"{repo}: {said}") as error:
            loaded(repo, cache_dir=tmp_path)
        assert "hf auth login" in str(error.value)
    with pytest.raises(HubError, match="not a name of the hub's"):
        loaded("some/--thing", cache_dir=tmp_path)


def test_without_huggingface_hub_one_line_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(HubError, match=r'pip install "swin-twice\[hub\]"'):
        loaded("swin_tiny_patch4_window7_224")
    files, state = small()
    (tmp_path / "model.safetensors").write_bytes(files["model.safetensors"])
    assert same(loaded(tmp_path), state)


def test_importing_the_packages_loads_no_hub_code():
    code = "import sys, swin_numpy, swin_numpy.__main__, swin_torch.compare, swin_numpy.weights.hub\n"
    code += "print([name for name in sys.modules if name.startswith(('huggingface_hub', 'httpx', 'requests'))])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


LOAD = """
import sys
from swin_numpy import SwinTransformer
model = SwinTransformer.from_pretrained(sys.argv[1], cache_dir=sys.argv[2])
print(float(model.head.weight.sum()))
"""


def start(hub, code, *words):
    env = os.environ | {"HF_ENDPOINT": hub.address, "HF_HUB_OFFLINE": "0", "HF_HOME": "/nowhere"}
    command = [sys.executable, "-c", code, *map(str, words)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)


def test_two_processes_at_once_download_it_once(hub, tmp_path):
    files, state = small()
    hub.upload(REPO, files)
    both_asked = hub.holding["model.safetensors"] = threading.Event()
    processes = [start(hub, LOAD, REPO, tmp_path) for _ in range(2)]
    until = time.monotonic() + 60
    while len(hub.sent("model.safetensors", "HEAD")) < 2 and time.monotonic() < until:
        time.sleep(0.01)
    both_asked.set()
    outputs = [process.communicate(timeout=60) for process in processes]
    expected = float(state["head.weight"].sum())
    assert [float(out) for out, _ in outputs] == [expected] * 2, outputs
    assert len(hub.sent("model.safetensors")) == 1


READ_ONLY = """
import os, sys
from pathlib import Path
from swin_numpy import HubError, SwinTransformer
repo, cache = sys.argv[1], Path(sys.argv[2])
SwinTransformer.from_pretrained(repo, cache_dir=cache)
for path in (*cache.rglob("*"), cache):
    path.chmod(0o555 if path.is_dir() else 0o444)
if os.geteuid() == 0:  # whom permissions don't stop
    os.setuid(65534)
print(float(SwinTransformer.from_pretrained(repo, cache_dir=cache).head.weight.sum()))
try:
    SwinTransformer.from_pretrained("somebody/else", cache_dir=cache)
except HubError as error:
    print(error)
"""


def test_a_cache_that_is_read_only(hub):
    files, state = small()
    hub.upload(REPO, files)
    hub.upload("somebody/else", small(3)[0])
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        cache = Path(folder) / "cache"
        out, error = start(hub, READ_ONLY, REPO, cache).communicate(timeout=60)
    assert out.count("\n") == 2, error
    first, second = out.splitlines()
    assert float(first) == float(state["head.weight"].sum()), error
    assert second.startswith("somebody/else: ") and "Permission denied" in second
    assert second.endswith(f"the cache is {cache}: pass another cache_dir or set HF_HUB_CACHE")
