"""Trainings of other people's trainers, recorded by their callbacks."""

import numpy as np
import pytest

from analysis import open_run
from tapjax.live import Recorder

STEPS = 12


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_hugging_face_trainer(tmp_path):
    transformers, torch = map(pytest.importorskip, ("transformers", "torch"))
    pytest.importorskip("accelerate")
    from tapjax.adapters.huggingface import RecorderCallback

    sizes = {"vocab_size": 20, "n_positions": 16, "n_embd": 16, "n_layer": 2, "n_head": 2}
    model = transformers.GPT2LMHeadModel(transformers.GPT2Config(**sizes))
    ids = torch.randint(20, (64, 12), generator=torch.Generator().manual_seed(0))
    rows = [{"input_ids": row, "labels": row} for row in ids]
    arguments = transformers.TrainingArguments(
        tmp_path / "hf", max_steps=STEPS, per_device_train_batch_size=4, logging_steps=1,
        report_to=[], save_strategy="no", use_cpu=True, eval_strategy="steps", eval_steps=6,
    )  # fmt: skip
    with Recorder(tmp_path / "run", quiet=True) as record:
        callback = RecorderCallback(record, {"input_ids": ids[:8]}, every=4, layers="*.mlp")
        trainer = transformers.Trainer(
            model, arguments, train_dataset=rows, eval_dataset=rows[:8], callbacks=[callback]
        )
        trainer.train()
    run = open_run(tmp_path / "run")
    assert run.steps("scalar").tolist() == list(range(STEPS))
    assert run.steps("probe").tolist() == [0, 4, 8]
    assert run.steps("eval").tolist() == [6, 12]
    logged = [row["loss"] for row in trainer.state.log_history if "loss" in row]
    np.testing.assert_allclose(run.array("scalar", "loss")[0], logged, rtol=1e-6)
    assert run.has("scalar", "grad_norm") and run.has("eval", "loss")
    assert run.layer_names == ["transformer.h.0.mlp", "transformer.h.1.mlp", "head"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("accumulated", [1, 2])
def test_lightning(tmp_path, accumulated):
    lightning, torch = map(pytest.importorskip, ("lightning.pytorch", "torch"))
    from tapjax.adapters.lightning import RecorderCallback

    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = torch.nn.Sequential(
                torch.nn.Linear(6, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3)
            )
            self.losses = []

        def forward(self, x):
            return self.net(x)

        def training_step(self, batch, index):
            loss = torch.nn.functional.cross_entropy(self(batch[0]), batch[1])
            self.losses.append(loss.item())
            return loss

        def validation_step(self, batch, index):
            self.log("val_accuracy", (self(batch[0]).argmax(-1) == batch[1]).float().mean())

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), 0.1)

    torch.manual_seed(0)
    x, y = torch.randn(48, 6), torch.randint(3, (48,))
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=8)
    module = Module()
    with Recorder(tmp_path / "run", quiet=True) as record:
        trainer = lightning.Trainer(
            max_epochs=2, accumulate_grad_batches=accumulated, accelerator="cpu", logger=False,
            callbacks=[RecorderCallback(record, x[:16], every=5)], enable_checkpointing=False,
            enable_progress_bar=False, enable_model_summary=False, default_root_dir=tmp_path,
        )  # fmt: skip
        trainer.fit(module, loader, loader)
    run, steps = open_run(tmp_path / "run"), STEPS // accumulated
    assert run.steps("scalar").tolist() == list(range(steps))
    losses = np.reshape(module.losses, (steps, accumulated)).mean(1)
    np.testing.assert_allclose(run.array("scalar", "loss")[0], losses, rtol=1e-6)
    assert run.steps("probe").tolist() == list(range(0, steps, 5))
    assert run.steps("eval").tolist() == [steps // 2, steps]
    assert (run.array("scalar", "grad_norm") > 0).all() and run.has("eval", "val_accuracy")
    assert run.layer_names == ["net.0", "head"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_lightning_with_two_optimizers_and_no_forward(tmp_path):
    lightning, torch = map(pytest.importorskip, ("lightning.pytorch", "torch"))
    from tapjax.adapters.lightning import RecorderCallback

    class Pair(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = torch.nn.Linear(6, 4), torch.nn.Linear(4, 2)

        def forward(self, x, scale):
            return self.b(torch.relu(self.a(x)) * scale)

    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.automatic_optimization, self.model, self.norms = False, Pair(), []

        def training_step(self, batch, index):
            total = 0
            for i, optimizer in enumerate(self.optimizers()):
                loss = self.model(batch[0], 2.0).square().mean() * (i + 1)
                optimizer.zero_grad()
                self.manual_backward(loss)
                total += sum(p.grad.square().sum() for p in optimizer.param_groups[0]["params"])
                optimizer.step()
                self.log(f"loss_{i}", loss)
            self.norms.append(float(total**0.5))

        def configure_optimizers(self):
            return [torch.optim.SGD(m.parameters(), 0.1) for m in (self.model.a, self.model.b)]

    torch.manual_seed(0)
    x = torch.randn(48, 6)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x), batch_size=8)
    module = Module()
    with Recorder(tmp_path / "run", quiet=True) as record:
        probe = (x[:16], torch.tensor(2.0))
        callback = RecorderCallback(record, probe, every=5, network="model")
        lightning.Trainer(
            max_epochs=2, accelerator="cpu", logger=False, callbacks=[callback],
            enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        ).fit(module, loader)  # fmt: skip
    run = open_run(tmp_path / "run")
    assert run.steps("scalar").tolist() == list(range(STEPS))
    assert run.steps("probe").tolist() == [0, 5, 10] and run.layer_names == ["a", "head"]
    assert {"loss_0", "loss_1"} <= set(run.names("scalar"))
    np.testing.assert_allclose(run.array("scalar", "grad_norm")[0], module.norms, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_fit_of_keras(tmp_path):
    keras = pytest.importorskip("keras")
    import jax

    from tapjax.adapters.keras import RecorderCallback

    class Losses(keras.callbacks.Callback):
        """The means over the epoch that Keras tells."""

        def __init__(self):
            super().__init__()
            self.seen = []

        def on_train_batch_end(self, batch, logs=None):
            self.seen.append(logs["loss"])

    rng, seen = np.random.default_rng(0), Losses()
    x, y = rng.standard_normal((48, 6)).astype(np.float32), rng.integers(3, size=48)
    net = keras.Sequential([keras.layers.Dense(8, "relu"), keras.layers.Dense(3)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    with (
        jax.numpy_rank_promotion("allow"),
        Recorder(tmp_path / "run", quiet=True) as record,
    ):
        net.compile("sgd", loss=loss, metrics=["accuracy"])
        callback = RecorderCallback(record, x[:16], every=4)
        net.fit(x, y, 8, 2, 0, [callback, seen], validation_data=(x, y))
    run = open_run(tmp_path / "run")
    assert run.steps("scalar").tolist() == list(range(STEPS))
    found = run.array("scalar", "loss")[0]
    for epoch in (slice(0, 6), slice(6, 12)):
        means = np.cumsum(found[epoch]) / np.arange(1, 7)
        np.testing.assert_allclose(means, seen.seen[epoch], rtol=1e-5)
    assert run.steps("probe").tolist() == [0, 4, 8] and run.steps("eval").tolist() == [6, 12]
    assert run.has("eval", "accuracy") and len(run.layer_names) == 2
