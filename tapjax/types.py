"""Data types that all parts of tapjax share, and the axis letters used in names.

Axis letters: S seeds, T records, L layers, B batch, N examples, P probe examples, D features,
C classes, M directions, K steps per block, H heads, Q tokens.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

Tree = Any  # a pytree of arrays


def tree_bytes(tree: Tree) -> int:
    """Return the size in bytes of all arrays of a tree.

    Args:
      tree: tree of arrays, or of the shapes that `jax.eval_shape` returns.

    Returns:
      Number of bytes. Leaves whose dtype has no item size are not counted.
    """
    leaves = [leaf for leaf in jax.tree.leaves(tree) if hasattr(leaf.dtype, "itemsize")]
    return sum(leaf.size * leaf.dtype.itemsize for leaf in leaves)


class Batch(NamedTuple):
    """Examples of one step.

    `x [B, ...]` are the inputs and `y [B]` the targets. `allowed [C]` marks the classes among which
    the network decides; None means all classes.
    """

    x: jax.Array
    y: jax.Array
    allowed: jax.Array | None = None


class DeviceData(NamedTuple):
    """Arrays that the compiled chunk reads.

    `x` and `y` are the training inputs and targets; uint8 images stay uint8 until they are in a
    batch. `probe` holds the normalised probe examples. `mean` and `std` are the values per channel
    that inputs are normalised with. `task` holds what a stream of tasks has drawn for the current
    task (see streams.py). `numbers` are numbers of the config by field (see numbers.py).
    """

    x: jax.Array
    y: jax.Array
    probe: Batch
    mean: jax.Array
    std: jax.Array
    task: Tree = ()
    numbers: dict[str, jax.Array] = {}


class TrainState(NamedTuple):
    """State of training, which is everything that a run needs to continue.

    In a run every leaf has a leading seed axis [S, ...]. `step` is the number of training steps
    done and `params` the parameters. `stats` holds the state of a model besides its parameters
    (batch statistics; empty for most models). `opt` is the state of the optimizer and `rule` that
    of the learning rule. `key` never changes, because every random draw folds a purpose and the
    step into it.
    """

    step: jax.Array
    params: Tree
    stats: Tree
    opt: Tree
    rule: Tree
    key: jax.Array


class Record(NamedTuple):
    """Record of one block: scalars per step `[K, ...]` and one measurement of the probe.

    `measures` holds, by the name of the measure, the measurements that were due.
    """

    scalars: dict[str, jax.Array]
    probe: dict[str, jax.Array]
    measures: dict[str, dict[str, jax.Array]] = {}


class Model(NamedTuple):
    """Network as pure functions.

    `init(key) -> (params, stats)` initialises the network.
    `apply(params, stats, x, key=None) -> (logits [B, C], hidden, stats)` runs it, in training mode
    if a key is given and in evaluation mode otherwise. `hidden` has one array per layer, in the
    order of `layer_names`; the last layer is the head (the logits).
    `capture(params, stats, x) -> dict` returns the values that the modules sow, such as attention
    probabilities [B, H, Q, Q], by their path. It is None for a model that sows nothing.
    `watch(params, stats, x, shifts=None, key=None) -> (logits, activations, stats)` also returns
    the outputs of the nonlinearities, as a tree. `shifts` is a tree of the same structure that is
    added to these outputs during the forward pass.
    `affine(params) -> dict` returns, for layers that are outputs of an affine map, the weights with
    the bias as the last row [inputs + 1, D], by the name of the layer.
    `units(params, stats) -> list` lists the parameters of the units of each hidden layer, see
    `models.wiring`; it raises a ConfigError if they are not known, and is None for networks of the
    user's own.
    """

    init: Callable
    apply: Callable
    layer_names: tuple[str, ...]
    capture: Callable | None = None
    watch: Callable | None = None
    affine: Callable = lambda params: {}
    units: Callable | None = None


class BlockNetwork(NamedTuple):
    """Network that consists of blocks, for rules that give each block its own credit.

    `embed(params, x) -> h_0` computes the first hidden state, and
    `block(params, i, h, key) -> h_{i+1}` the next one. All h have the same shape [B, ...].
    `output(params, h_L) -> output [B, C]` is the head and `loss(output, batch) -> [B]` the loss per
    example. The first three take the whole parameter tree and use their own part of it: `embed`,
    `block_0` ..., `head`. `key` is used for randomness in a block (process noise); most blocks
    ignore it. `label(batch) -> [B, C]` is the output that is right, as one-hot labels for classes.
    `init(key) -> parameters` draws a parameter tree.
    `adjoint(params, feedback, i, h, a) -> [B, ...]` multiplies a with the transposed Jacobian of
    block i at h, where the weight matrices on the way back are those of the tree `feedback`; with
    `feedback` equal to `params` it is the step of backpropagation.
    `depth` is the number of blocks L, `skip` the share of h that a block passes on unchanged,
    `inputs` the number of values of one example x, `shape` the shape of h for one example, and
    `outputs` is C.
    """

    depth: int
    skip: float
    inputs: int
    shape: tuple[int, ...]
    outputs: int
    embed: Callable
    block: Callable
    output: Callable
    loss: Callable
    label: Callable
    init: Callable
    adjoint: Callable


class ForwardView(NamedTuple):
    """Quantities that a credit estimator may use after a forward pass.

    `h` [L+1, B, ...] holds the hidden states. `error` [B, C] is the gradient of each example's loss
    with respect to the output, and `last` [B, ...] that with respect to h_L. Both are local to the
    head. `loss` [B] is the loss of each example. `target` [B, C] is the output minus `error`.
    `block(l, h)` runs one block forward. `terminal(h) -> [B]` runs the head and the loss.
    `x` [B, ...] are the inputs and `label` [B, C] the right outputs. `embed(x)` computes h_0, and
    `cost(output) -> [B]` the loss of other outputs. `adjoint(l, feedback, a)` goes back through
    block l at h_l with the weight matrices of `feedback`, see BlockNetwork. `params` are the
    parameters of the network. `tapjax.credit.USES` lists which of these each estimator uses.
    """

    h: jax.Array
    error: jax.Array
    last: jax.Array
    loss: jax.Array
    target: jax.Array
    block: Callable
    terminal: Callable
    x: jax.Array
    label: jax.Array
    embed: Callable
    cost: Callable
    adjoint: Callable
    params: Tree


class Credit(NamedTuple):
    """Estimator of the gradient of the loss with respect to every hidden state.

    It is a pair of functions. `init(key) -> credit state` makes the first state.
    `assign(credit, seen, key) -> (credits [L+1, B, ...], credit state, scalars)` computes the
    credits from the given state. The returned state has then learned from the ForwardView `seen`.
    `follow(credit, grads) -> credit`, if there is one, then learns from the pseudo-gradients that
    the rule computed for the parameters of the network.
    """

    init: Callable
    assign: Callable
    follow: Callable | None = None


class Proposal(NamedTuple):
    """Result of a learning rule for one batch.

    `grads` are pseudo-gradients, `rule` is the next state of the rule, `stats` are the new batch
    statistics, and `scalars` are recorded. `seen` holds the activations of the batch if an
    optimizer needs them.
    """

    grads: Tree
    rule: Tree
    stats: Tree
    scalars: dict[str, jax.Array]
    seen: Tree = ()


class Rule(NamedTuple):
    """Learning rule as a pair of pure functions.

    `init(key, params) -> rule state` makes the first state of the rule.
    `update(rule, params, stats, batch, key) -> Proposal` applies the rule to one batch.
    """

    init: Callable
    update: Callable


class Measure(NamedTuple):
    """Measurement of the state of a run, as a pure function.

    `apply(model, loss, state, data, key) -> dict of arrays` measures one seed; `loss(outputs,
    batch) -> [B]` is the loss per example. It is None for the probe that the run itself has. `cost`
    is the approximate time of a measurement as a number of forward passes over the probe examples.
    `help` is the question that it answers. `training` says whether it uses training examples.
    With `pairs`, `apply(model, loss, state, other, data, key)` compares two states, and is neither
    compiled nor computed during training. With `classes`, it needs one class per example.
    """

    apply: Callable | None
    cost: float
    help: str
    training: bool = False
    pairs: bool = False
    classes: bool = False


class Recipe(NamedTuple):
    """Experiment in the form in which the training loop runs it.

    `structure` holds the features of the architecture; it is empty for a user-defined model.
    `init(key) -> TrainState` makes the initial state.
    `step(state, data) -> (state, scalars)` trains for one step.
    `gradient(state, data) -> tree` returns the gradient that the optimizer gets at that step.
    `probe(state, data) -> dict of arrays` measures the state.
    `evaluate(state, data, x, y) -> dict of scalars` scores it on given examples.
    `transitions` are pairs (step, function of the states of all seeds). The function is applied
    before that step.
    `prepare(state, data) -> data` returns the data of the current task, and is called once per
    block.
    `loss(outputs, batch) -> [B]` is the loss per example.
    `expanded(state) -> ((params, stats), ...)` returns the narrower networks of a run with clones,
    the base first, as networks of the size of the model that compute the same functions.
    `measures` holds, by name, what else is measured during training: a function `(state, data) ->
    dict of arrays`, and the number of blocks between two measurements.
    """

    model: Model
    structure: dict
    init: Callable
    step: Callable
    gradient: Callable
    probe: Callable
    evaluate: Callable
    transitions: tuple[tuple[int, Callable], ...]
    loss: Callable
    prepare: Callable = lambda state, data: data
    expanded: Callable = lambda state: ()
    measures: dict[str, tuple[Callable, int]] = {}
