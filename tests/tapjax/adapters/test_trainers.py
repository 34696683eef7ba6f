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
