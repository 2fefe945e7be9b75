"""The command line of both trainers: what it trains and writes, and one line for what it can't do."""

import json
import shlex
import socket
from dataclasses import asdict, fields, replace

import pytest
import torch

import swin_numpy
import swin_torch
from swin_numpy.training import command_line
from swin_numpy.training.recipe import Recipe, first_weights
from swin_numpy.weights.files import read_file
from swin_numpy.weights.load import load_checkpoint, load_with_config
from tests.training import CHANGES, PACKAGES, TINY, assert_same_weights, fails, finish, options, run_of, start

pytestmark = pytest.mark.usefixtures("one_thread")


@PACKAGES
def test_command_line(package, data_folder, tmp_path, capsys):
    run_of(package, options(data_folder, tmp_path))
    out, err = capsys.readouterr()
    assert "epoch   3/3" in out and "test accuracy" in out and not err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["last.safetensors", "model.safetensors"]
    state, config = load_with_config(tmp_path / "model.safetensors")
    model = package.SwinTransformer(config)
    model.load_state_dict(state if package is swin_numpy else {k: torch.from_numpy(v) for k, v in state.items()})
    about = read_file(tmp_path / "model.safetensors")[1]
    assert config == TINY and json.loads(about["recipe"]) == asdict(Recipe(epochs=3, batch_size=8))
    assert about["test_accuracy"] in {f"{n / 25:.4f}" for n in range(26)} and about["seconds"].isdigit()


@PACKAGES
def test_validation_images_choose_and_test_images_only_report(package, data_folder, tmp_path, capsys):
    run_of(package, [*options(data_folder, tmp_path), "--validation", "10"])
    out, err = capsys.readouterr()
    assert "first 30 of" in out and "last 10 of" in out and not err
    epochs = [line for line in out.splitlines() if line.startswith("epoch")]
    assert len(epochs) == 3 and all("validation accuracy" in line and "test" not in line for line in epochs)
    about = read_file(tmp_path / "model.safetensors")[1]
    assert about["validation_accuracy"] in {f"{n / 10:.4f}" for n in range(11)}
    assert about["test_accuracy"] in {f"{n / 25:.4f}" for n in range(26)}
    again = [*options(data_folder, tmp_path), "--validation", "12", "--resume"]
    assert "that run has" in fails(package, again, capsys)  # trained on other images
    for count in ("40", "-1"):
        message = fails(package, [*options(data_folder, tmp_path / "no"), "--validation", count], capsys)
        assert "expected 1 to 39 images to hold out of 40" in message


@PACKAGES
def test_start_from_another_runs_weights(package, data_folder, tmp_path, capsys):
    run_of(package, options(data_folder, tmp_path / "first"))
    weights = tmp_path / "first" / "model.safetensors"
    before = load_checkpoint(weights)
    shapes = {name: value.shape for name, value in before.items()}
    assert_same_weights(first_weights(shapes, Recipe(start=str(weights))), before)
    still = ["--base-lr", "0", "--min-lr", "0", "--warmup-lr", "0", "--start", str(weights)]
    run_of(package, options(data_folder, tmp_path / "second") + still)
    assert_same_weights(load_checkpoint(tmp_path / "second" / "model.safetensors"), before)
    wider = ["--start", str(weights), "--config", json.dumps(CHANGES | {"embed_dim": 16})]
    assert "embed_dim=8 (the model has 16)" in fails(package, options(data_folder, tmp_path / "third") + wider, capsys)
    assert "not.there" in fails(package, [*options(data_folder, tmp_path), "--start", "not.there"], capsys)


@PACKAGES
def test_ctrl_c_promises_only_what_was_saved(package, data_folder, tmp_path, capsys, monkeypatch):
    def stop(trainer, train, watched, folder, *rest):
        if saved:
            (folder / "last.safetensors").touch()
        raise KeyboardInterrupt

    monkeypatch.setattr(command_line, "fit", stop)
    arguments = options(data_folder, tmp_path / "my runs")
    for saved in (False, True):
        assert package.train.main([*arguments, "--overwrite"]) == 130
        go_on = f"go on with: python -m {package.__name__}.train {shlex.join([*arguments, '--resume'])}\n"
        said = go_on if saved else "Stopped before anything was saved: there is nothing to resume.\n"
        assert capsys.readouterr().err.endswith(said)


@PACKAGES
def test_models_for_other_images_are_not_offered(package, data_folder, tmp_path, capsys):
    run_of(package, [*options(data_folder, tmp_path), "--model", "swin_fashion_patch2_window7_28"])
    with pytest.raises(SystemExit):
        package.train.main(["--model", "swin_tiny_patch4_window7_224"])
    assert "invalid choice: 'swin_tiny_patch4_window7_224'" in capsys.readouterr().err


def test_the_largest_model_is_counted_exactly(monkeypatch):
    for version in (1, 2):
        config = replace(TINY, version=version, pretrained_window_sizes=(0,))
        count = sum(value.size for value in swin_numpy.SwinTransformer(config).state_dict().values())
        monkeypatch.setattr(command_line, "MOST_PARAMETERS", count)
        command_line._check_size(config)
        monkeypatch.setattr(command_line, "MOST_PARAMETERS", count - 1)
        with pytest.raises(ValueError, match=f"it has {count:,} and"):
            command_line._check_size(config)


def test_the_pairs_of_tokens_are_counted_over_all_blocks(monkeypatch):
    config = replace(TINY, depths=(3,), window_size=7)  # three index tables of 7⁴, more than all parameters
    monkeypatch.setattr(command_line, "MOST_PARAMETERS", 3 * 7**4)
    command_line._check_size(config)
    monkeypatch.setattr(command_line, "MOST_PARAMETERS", 3 * 7**4 - 1)
    with pytest.raises(ValueError, match=r"and 7,203$"):
        command_line._check_size(config)


@PACKAGES
def test_wrong_options(package, data_folder, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    for more, found in (
        (["--data", str(tmp_path)], "expected the files"),
        (["--out", str(tmp_path / "file" / "run")], "file"),
        (["--out", str(tmp_path / "file")], "file"),
        (["--batch-size", "41"], "batch_size: expected at most 40"),
        (["--epochs", "0"], "epochs: expected a whole number from 1"),
        (["--save-every", "0"], "--save-every: expected at least 1"),
        (["--base-lr", "nan"], "base_lr: expected a number from 0 to 10, got nan"),
        (["--min-lr", "inf"], "min_lr: expected a number from 0 to 10, got inf"),
        (["--warmup-lr=-1e-9"], "warmup_lr: expected a number from 0 to 10, got -1e-09"),
        (["--base-lr", "1e30"], "base_lr: expected a number from 0 to 10, got 1e+30"),
        (["--weight-decay", "-1"], "weight_decay: expected a number from 0 to 100, got -1.0"),
        (["--clip-grad", "nan"], "clip_grad: expected a number from 1e-09 to "),
        (["--clip-grad", "0"], "clip_grad: expected"),
        (["--label-smoothing", "nan"], "label_smoothing: expected a number from 0 to 1, got nan"),
        (["--max-shift", "100000"], "max_shift: expected a whole number from 0 to 27, got 100000"),
        (["--seed", "-1"], "seed: expected a whole number from 0 to"),
        (["--seed", "1" + "0" * 30], "seed: expected a whole number from 0 to"),
        (["--warmup-epochs", "4"], "warmup_epochs: expected at most epochs=3, got 4"),
        (["--epochs", "1" + "0" * 12], "epochs: expected a whole number from 1"),
        (["--save-every", "-5"], "--save-every: expected at least 1"),
        (["--start", str(tmp_path)], str(tmp_path)),
        (["--config", "{"], "--config: expected JSON"),
        (["--config", "[1]"], "--config: expected JSON"),
        (["--config", '{"width": 3}'], "width"),
        (["--config", '{"depths": 3}'], "depths"),
        (["--config", '{"num_classes": 3}'], "num_classes=10"),
        (["--config", '{"img_size": 1000000}'], "img_size=28 or null"),
        (["--config", '{"img_size": [28, 27]}'], "img_size=28 or null"),
        (["--config", '{"embed_dim": 100000000}'], "at most 200,000,000 parameters"),
        (["--config", json.dumps({"embed_dim": 10**400})], "at most 200,000,000 parameters"),
        (["--config", '{"embed_dim": -8}'], "embed_dim"),
        (["--config", '{"mlp_ratio": 1e300}'], "at most 200,000,000 parameters"),
        (["--config", '{"mlp_ratio": NaN}'], "mlp_ratio"),
        (["--config", '{"window_size": 200, "img_size": null}'], "and 9,600,000,000"),
        (["--config", '{"patch_size": 1000000}'], "at most 200,000,000 parameters"),
        (["--config", '{"window_size": 1000000, "img_size": null}'], "at most 200,000,000 parameters"),
        (["--config", json.dumps({"depths": [10**9], "num_heads": [2]})], "at most 1000 blocks, got 1000000000"),
        (["--config", json.dumps({"depths": [1] * 40, "num_heads": [1] * 40})], "at most 16 stages"),
        (["--config", '{"depths": ["2"], "num_heads": [2]}'], "depths"),
        (["--config", '{"drop_rate": 2}'], "drop_rate"),
        (["--config", "null"], "--config: expected JSON"),
        (["--config", "[" * 100_000], "--config: expected JSON"),
    ):
        assert found in fails(package, [*options(data_folder, tmp_path / "run"), *more], capsys)
    assert not list(tmp_path.glob("run/*"))


def test_wrong_device_and_threads(data_folder, tmp_path, capsys):
    for more, found in (
        (["--device", "abacus"], "device 'abacus' doesn't exist here; this machine has: cpu"),
        (["--device", "cpu:3"], "device 'cpu:3' doesn't exist here"),
        (["--threads", "0"], "--threads: expected 1 to 256, got 0"),
        (["--threads", "-1"], "--threads: expected 1 to 256, got -1"),
        (["--threads", "257"], "--threads: expected 1 to 256, got 257"),
        (["--threads", "1000000"], "--threads: expected 1 to 256, got 1000000"),
    ):
        assert found in fails(swin_torch, [*options(data_folder, tmp_path), *more], capsys)


def test_threads(data_folder, tmp_path):
    before = torch.get_num_threads()
    try:
        run_of(swin_torch, options(data_folder, tmp_path, "--threads", "1"))
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


@pytest.mark.slow
def test_two_processes_give_the_weights_of_one(data_folder, tmp_path):
    """20 steps in float64, by two processes, and by this one."""
    arguments = ["--dtype", "float64", "--epochs", "4", "--clip-grad", "0.7"]
    run_of(swin_torch, options(data_folder, tmp_path / "one", *arguments))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    launcher = ["-m", "torch.distributed.run", "--nproc-per-node", "2"]
    launcher += ["--master-addr", "127.0.0.1", "--master-port", port]
    out, _ = finish(start("swin_torch", options(data_folder, tmp_path / "two", *arguments), launcher=launcher))
    assert out.count("epoch   4/4") == out.count("weights in") == 1 and "2 processes" in out
    assert sorted(path.name for path in (tmp_path / "two").iterdir()) == ["last.safetensors", "model.safetensors"]
    one, two = (read_file(tmp_path / name / "last.safetensors")[0] for name in ("one", "two"))
    assert len(one["losses"]) == 20
    assert_same_weights(one, two, 1e-11)
    assert any((one[name] != two[name]).any() for name in one)  # the sums were really made in another order


@PACKAGES
@pytest.mark.parametrize("option", ["--epochs", "--batch-size", "--max-shift", "--seed", "--save-every", "--base-lr"])
@pytest.mark.parametrize("value", ["nothing", "1.5.2", ""])
def test_what_is_not_a_number_is_refused_by_name(package, option, value, tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        package.train.main(["--out", str(tmp_path / "run"), option, value])
    assert f"argument {option}: invalid" in capsys.readouterr().err and not (tmp_path / "run").exists()


@PACKAGES
def test_a_run_whose_numbers_run_away_ends_with_one_line(package, data_folder, tmp_path, capsys):
    wild = ["--base-lr", "10", "--warmup-epochs", "0", "--weight-decay", "100", "--epochs", "60"]
    line = fails(package, [*options(data_folder, tmp_path / "run"), *wild], capsys)
    assert "so training stops here; try a smaller base_lr" in line
    assert not (tmp_path / "run" / "model.safetensors").exists()


@PACKAGES
def test_every_field_of_the_recipe_is_an_option_and_reaches_it(package, data_folder, tmp_path):
    changed = {"epochs": 2, "batch_size": 8, "base_lr": 0.01, "min_lr": 0.002, "warmup_lr": 0.003, "warmup_epochs": 0,
               "weight_decay": 0.5, "clip_grad": 0.1, "label_smoothing": 0.3, "max_shift": 2, "init": "published",
               "seed": 9}  # fmt: skip
    assert changed.keys() == {field.name for field in fields(Recipe)} - {"augmented", "start"}
    words = [word for name, value in changed.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    run_of(package, [*options(data_folder, tmp_path), *words, "--no-augmentation"])
    recipe = json.loads(read_file(tmp_path / "model.safetensors")[1]["recipe"])
    assert recipe == asdict(Recipe(**changed, augmented=False))
