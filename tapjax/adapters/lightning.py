"""Recording of a training with PyTorch Lightning."""

import torch
from lightning.pytorch.callbacks import Callback

from tapjax.adapters.torch import activations
from tapjax.live import Recorder


class RecorderCallback(Callback):
    """Callback that records loss, gradient norm, logged metrics and probes of a Trainer.

    Args:
      record: open Recorder; close it after the training, or use it in a `with` statement.
      probe: inputs of the network for the probe; None for no probe.
      every: number of steps between two probes.
      layers: layers to measure, as in `torch.activations`.

    Example::

        callback = RecorderCallback(record, probe=x)
        Trainer(max_epochs=1, callbacks=[callback]).fit(module, loader)
    """

    def __init__(self, record: Recorder, probe=None, every: int = 5, layers=None):
        self.record, self.inputs, self.every, self.layers = record, probe, every, layers
        self.grad_norm, self.loss = None, None

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        """Measure the network before the step."""
        step = trainer.global_step
        if self.inputs is not None and trainer.is_global_zero and step % self.every == 0:
            inputs = self.inputs.to(module.device)
            self.record.probe(step, layers=activations(module, inputs, layers=self.layers))

    def on_before_optimizer_step(self, trainer, module, optimizer):
        """Keep the norm of the gradient of this step."""
        norms = [p.grad.detach().norm() for p in module.parameters() if p.grad is not None]
        self.grad_norm = torch.stack(norms).norm()

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        """Record the loss and the norm of the gradient, if the network was updated.

        Lightning divides the loss by the number of batches whose gradients it accumulates.
        """
        loss = outputs.get("loss") if isinstance(outputs, dict) else outputs
        if loss is not None:  # it is None with manual optimisation
            self.loss = loss.detach() + (0 if self.loss is None else self.loss)
        if trainer.is_global_zero and self.grad_norm is not None:
            known = {} if self.loss is None else {"loss": self.loss}
            self.record(trainer.global_step - 1, grad_norm=self.grad_norm, **known)
            self.grad_norm, self.loss = None, None

    def on_validation_end(self, trainer, module):
        """Record the metrics that the module has logged."""
        scores = {name: value for name, value in trainer.callback_metrics.items() if "val" in name}
        if trainer.is_global_zero and scores and not trainer.sanity_checking:
            self.record.evaluate(trainer.global_step, **scores)
