"""Recording of a training with PyTorch Lightning."""

from lightning.fabric.utilities import move_data_to_device
from lightning.pytorch.callbacks import Callback

from tapjax.adapters.torch import activations
from tapjax.live import Recorder


class RecorderCallback(Callback):
    """Callback that records loss, gradient norm, logged metrics and probes of a Trainer.

    With automatic optimisation, a step is an update of the network, and its loss the mean over the
    batches whose gradients it accumulates. With manual optimisation, a step is a batch, and the
    gradient norm that of the parameters of all optimizers that made an update.

    Args:
      record: open Recorder; close it after the training, or use it in a `with` statement.
      probe: inputs of the network for the probe: an array, a tuple of arguments, or a dict of them;
        None for no probe.
      every: number of steps between two probes.
      layers: layers to measure, as in `torch.activations`.
      network: path of the network in the module, such as `model`, if the module has no `forward`.

    Example::

        callback = RecorderCallback(record, probe=x)
        Trainer(max_epochs=1, callbacks=[callback]).fit(module, loader)
    """

    def __init__(
        self, record: Recorder, probe=None, every: int = 5, layers=None, network: str = ""
    ):
        self.record, self.inputs, self.every, self.layers = record, probe, every, layers
        self.network, self.square, self.loss = network, None, None
        self.batches = 0

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        """Measure the network before the step."""
        step = trainer.global_step if module.automatic_optimization else self.batches
        if self.inputs is not None and trainer.is_global_zero and step % self.every == 0:
            inputs = move_data_to_device(self.inputs, module.device)
            args = inputs if isinstance(inputs, (tuple, list)) else (inputs,)
            args, named = ((), inputs) if isinstance(inputs, dict) else (args, {})
            network = module.get_submodule(self.network)
            self.record.probe(step, layers=activations(network, *args, layers=self.layers, **named))

    def on_before_optimizer_step(self, trainer, module, optimizer):
        """Add the gradient of the parameters of an optimizer."""
        grads = [p.grad for group in optimizer.param_groups for p in group["params"]]
        squares = [g.detach().square().sum() for g in grads if g is not None]
        self.square = sum(squares) + (0 if self.square is None else self.square)

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        """Record the loss, the norm of the gradient and logged metrics, if there was an update.

        Lightning divides the loss by the number of batches whose gradients it accumulates.
        """
        loss = outputs.get("loss") if isinstance(outputs, dict) else outputs
        if loss is not None:  # it is None with manual optimisation
            self.loss = loss.detach() + (0 if self.loss is None else self.loss)
        if trainer.is_global_zero and self.square is not None:
            step = trainer.global_step - 1 if module.automatic_optimization else self.batches
            known = {} if self.loss is None else {"loss": self.loss}
            logged = {
                name: value
                for name, value in trainer.callback_metrics.items()
                if "val" not in name and not name.endswith("_epoch") and value.numel() == 1
            }
            self.record(step, **logged | known, grad_norm=self.square**0.5)
            self.square, self.loss = None, None
        self.batches += 1

    def on_validation_end(self, trainer, module):
        """Record the metrics that the module has logged."""
        scores = {name: value for name, value in trainer.callback_metrics.items() if "val" in name}
        if trainer.is_global_zero and scores and not trainer.sanity_checking:
            step = trainer.global_step if module.automatic_optimization else self.batches
            self.record.evaluate(step, **scores)
