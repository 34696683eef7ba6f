"""The few data types that everything passes around, and the axis letters used in names.

Axis letters: S seeds, T records, L layers, B batch, N examples, P probe examples, D features,
C classes, M directions, K steps a block, H heads, Q tokens.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

Tree = Any  # a pytree of arrays


def tree_bytes(tree: Tree) -> int:
    """The size of all arrays, or of what `jax.eval_shape` says of them."""
    leaves = [leaf for leaf in jax.tree.leaves(tree) if hasattr(leaf.dtype, "itemsize")]
    return sum(leaf.size * leaf.dtype.itemsize for leaf in leaves)


class Batch(NamedTuple):
    """Examples of one step: inputs `x [B, ...]` and targets `y [B]`; `allowed [C]` are the classes
    to decide among, None for all."""

    x: jax.Array
    y: jax.Array
    allowed: jax.Array | None = None


class DeviceData(NamedTuple):
    """The arrays that the compiled chunk reads: uint8 images stay uint8 until they are batched.

    `task` is what a stream of tasks has drawn for the one at hand (see streams.py).
    """

    x: jax.Array
    y: jax.Array
    probe: Batch
    mean: jax.Array
    std: jax.Array
    task: Tree = ()


class TrainState(NamedTuple):
    """All that a run needs to go on; in a run every leaf carries a leading seed axis [S, ...].

    `stats` holds what a model carries besides parameters (batch statistics; empty for most).
    `key` never changes: every draw folds in a purpose and the step.
    """

    step: jax.Array
    params: Tree
    stats: Tree
    opt: Tree
    rule: Tree
    key: jax.Array


class Record(NamedTuple):
    """What a block leaves behind: per-step scalars `[K, ...]` and one probe measurement."""

    scalars: dict[str, jax.Array]
    probe: dict[str, jax.Array]


class Model(NamedTuple):
    """A network as pure functions.

    `init(key) -> (params, stats)`;
    `apply(params, stats, x, key=None) -> (logits [B, C], hidden, stats)`, training mode when a
    key is given, evaluation mode without. `hidden` has one array a layer, in the order of
    `layer_names`; the last one is the head (the logits).
    `capture(params, stats, x) -> dict` of what the modules sow, such as attention
    probabilities [B, H, Q, K], by path; None where a model has nothing of the kind.
    `watch(params, stats, x, shifts=None, key=None) -> (logits, activations, stats)` also shows what
    follows the nonlinearities, as a tree; `shifts`, a tree like it, is added to them on the way.
    """

    init: Callable
    apply: Callable
    layer_names: tuple[str, ...]
    capture: Callable | None = None
    watch: Callable | None = None


class BlockNetwork(NamedTuple):
    """A network cut into blocks, for rules that give each block its own credit.

    `embed(params, x) -> h_0`; `block(params, i, h, key) -> h_{i+1}`, all h of one shape [B, ...];
    `output(params, h_L) -> output [B, C]`; `loss(output, batch) -> [B]`. Each takes the whole
    parameter tree and uses its own part: `embed`, `block_0` ..., `head`. `key` draws what is random
    in a block (process noise); most ignore it. `depth` is the number of blocks L, `skip` the share
    of h that a block passes on unchanged, `shape` that of one example's h, `outputs` is C.
    """

    depth: int
    skip: float
    shape: tuple[int, ...]
    outputs: int
    embed: Callable
    block: Callable
    output: Callable
    loss: Callable


class ForwardView(NamedTuple):
    """What a credit estimator may look at after a forward pass.

    `h` [L+1, B, ...] are the hidden states; `error` [B, C] is the gradient of each example's loss
    by the output and `last` [B, ...] by h_L, both local to the head; `loss` is [B]. `block(l, h)`
    runs one block forward and `terminal(h) -> [B]` the head and the loss.
    """

    h: jax.Array
    error: jax.Array
    last: jax.Array
    loss: jax.Array
    target: jax.Array
    block: Callable
    terminal: Callable


class Credit(NamedTuple):
    """An estimator of the gradient of the loss by every hidden state, as a pair.

    `init(key) -> credit state`; `assign(credit, seen, key) -> (credits [L+1, B, ...], credit
    state, scalars)`: the credits are given by the state as it was, the new one has learned from
    what was seen.
    """

    init: Callable
    assign: Callable


class Proposal(NamedTuple):
    """What a rule proposes for one batch: pseudo-gradients, its next state and scalars; `seen` are
    the batch's activations, where an optimizer wants them."""

    grads: Tree
    rule: Tree
    stats: Tree
    scalars: dict[str, jax.Array]
    seen: Tree = ()


class Rule(NamedTuple):
    """A learning rule as a pair of pure functions.

    `init(key, params) -> rule state`; `update(rule, params, stats, batch, key) -> Proposal`.
    """

    init: Callable
    update: Callable


class Recipe(NamedTuple):
    """An experiment as the loop runs it.

    `init(key) -> TrainState`; `step(state, data) -> (state, scalars)`;
    `probe(state, data) -> dict of arrays`; `evaluate(state, data, x, y) -> dict of scalars`.
    `gradient(state, data) -> tree` is what the optimizer gets at that step;
    `transitions` are pairs (step, function of all seeds' states), applied before that step.
    `structure` holds the architecture's features, empty for a model of the user's own.
    `prepare(state, data) -> data` gives the data of the task at hand, once a block.
    """

    model: Model
    structure: dict
    init: Callable
    step: Callable
    gradient: Callable
    probe: Callable
    evaluate: Callable
    transitions: tuple[tuple[int, Callable], ...]
    prepare: Callable = lambda state, data: data
