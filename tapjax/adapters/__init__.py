"""Activations of networks of other libraries, for `Recorder.probe` and `tapjax.measure`.

Each module is the only place that imports its library. It has a function `activations`, and a
function `weights` for `Recorder.snapshot` where the library does not keep weights in dicts:

    from tapjax.adapters.linen import activations      # Flax linen
    from tapjax.adapters.nnx import activations        # Flax NNX
    from tapjax.adapters.equinox import activations
    from tapjax.adapters.keras import activations      # Keras 3, any backend
    from tapjax.adapters.torch import activations

All return a dict from the name of a layer to its activations: [N, D], or [N, Q, D] for tokens.
Images are averaged over space. The output of the network is named `head`, which a `Recorder` leaves
out of D. The other layers are by default those with parameters of their own.

`tapjax.adapters.checkpoints.weights` reads files of safetensors, Orbax checkpoints and npz files.

`tapjax.adapters.huggingface` and `tapjax.adapters.lightning` have a RecorderCallback for the
trainers of these libraries.
"""
