"""CPU time of every measure, relative to a training step and to a pass over the probe examples."""

import statistics
import time

from tapjax.measure.measures import MEASURES, bound

NETWORKS = ("mlp", "cnn", "transformer")  # of configs/tap/instruments.py
SLOW = ("curvature", "llc", "barrier")  # measured once
STEPS = 50  # training steps per turn
TRAINED = 20  # blocks before the measures are made


def instruments(turns: int, networks=NETWORKS, quick: bool = False) -> list[dict]:
    """Measure the CPU time of each measure, of one seed and without compilation.

    Args:
      turns: number of measurements of each measure, of which the median is taken.
      networks: networks of `configs/tap/instruments.py`.
      quick: whether to use small runs.

    Returns:
      One row per network and measure: `what`, `cpu_ms`, `steps`, the number of training steps that
      take as long, and `passes`, the number of forward passes over the probe examples.
    """
    rows = []
    for net in networks:
        ready, state, others = _prepared(net, quick)
        data, recipe = ready.data, ready.recipe
        step = _median(_steps(recipe, state, data), turns) / STEPS
        forward = _median(_forward(recipe.model, state, data), turns)
        for name, measure in MEASURES.items():
            fn = bound(measure, recipe)
            program = _pair(fn, others, data) if measure.pairs else _single(fn, state, data)
            ms = _median(program, 1 if name in SLOW else turns)
            rows.append(
                {"what": f"{net}: {name}", "cpu_ms": ms, "steps": ms / step, "passes": ms / forward}
            )
    return rows


def _prepared(net, quick):
    """Train a network for a while; return its Assembly, the state of a seed, and those of two."""
    import jax

    from configs.tap.instruments import get_config
    from tapjax.run.assembly import assemble

    config = get_config(f"net={net}{',quick' if quick else ''}")
    config.seeds, config.over_seeds, config.probe.measures = (0, 1), "loop", ""
    ready = assemble(config)
    blocks = min(TRAINED, ready.programs.most)
    states, _ = ready.programs.train(ready.programs.init(), ready.data, blocks)
    both = [jax.tree.map(lambda leaf, i=i: leaf[i], states) for i in range(2)]
    return ready, both[0], both


def _steps(recipe, state, data):
    """Return a function that trains for some steps in one program."""
    import jax

    program = jax.jit(
        lambda s, d: jax.lax.fori_loop(0, STEPS, lambda _, x: recipe.step(x, d)[0], s)
    )
    return lambda: program(state, data)


def _forward(model, state, data):
    import jax

    program = jax.jit(lambda s, d: model.apply(s.params, s.stats, d.probe.x)[0])
    return lambda: program(state, data)


def _single(fn, state, data):
    import jax

    program = jax.jit(fn)
    return lambda: program(state, data)


def _pair(fn, others, data):
    return lambda: fn(*others, data)


def _median(run, turns):
    """Return the median CPU time in ms of a function that is called once before."""
    import jax

    jax.block_until_ready(run())
    times = []
    for _ in range(turns):
        begun = time.process_time()
        jax.block_until_ready(run())
        times.append(1e3 * (time.process_time() - begun))
    return statistics.median(times)
