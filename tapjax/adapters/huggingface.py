"""Recording of the training of a Hugging Face `Trainer`."""

from transformers import TrainerCallback

from tapjax.adapters.torch import activations
from tapjax.live import Recorder


class RecorderCallback(TrainerCallback):
    """Callback that records logs, evaluations and probes of a Trainer.

    Set `logging_steps=1` in the TrainingArguments to record the loss of every step.

    Args:
      record: open Recorder; close it after the training, or use it in a `with` statement.
      probe: inputs of the network for the probe, such as {"input_ids": ids}; None for no probe.
      every: number of steps between two probes.
      layers: layers to measure, as in `torch.activations`.

    Example::

        callback = RecorderCallback(record, probe=batch, layers="*.mlp")
        Trainer(model, args, train_dataset=data, callbacks=[callback]).train()
    """

    def __init__(self, record: Recorder, probe=None, every: int = 5, layers=None):
        self.record, self.inputs, self.every, self.layers = record, probe, every, layers

    def on_step_begin(self, args, state, control, model=None, **kwargs):
        """Measure the network before the step."""
        step = state.global_step
        if self.inputs is not None and state.is_world_process_zero and step % self.every == 0:
            inputs = {name: value.to(args.device) for name, value in self.inputs.items()}
            self.record.probe(step, layers=activations(model, layers=self.layers, **inputs))

    def on_log(self, args, state, control, logs=None, **kwargs):
        """Record the numbers that the Trainer logs."""
        numbers = {name: v for name, v in (logs or {}).items() if isinstance(v, (int, float))}
        if not state.is_world_process_zero or any(n.startswith("train_") for n in numbers):
            return  # the last log sums up the training
        scores = {n.removeprefix("eval_"): v for n, v in numbers.items() if n.startswith("eval_")}
        scores = {n: v for n, v in scores.items() if n != "runtime" and "_per_second" not in n}
        if scores:
            self.record.evaluate(state.global_step, **scores)
        else:
            self.record(max(state.global_step - 1, 0), **numbers)
