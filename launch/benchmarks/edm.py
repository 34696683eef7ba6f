"""Empirical dynamic modelling by our package and by pyEDM, on coupled logistic maps."""

DIMENSION, SAMPLES, SIZES = 3, 100, 20
WARM = 400  # points of a first call, in which everything compiles


def coupled_maps(length: int):
    """Simulate two logistic maps that act on each other.

    Args:
      length: number of points T.

    Returns:
      Series of both maps, [2, T].
    """
    import numpy as np

    x, y, found = 0.4, 0.2, []
    for _ in range(300 + length):
        x, y = x * (3.8 - 3.8 * x - 0.02 * y), y * (3.5 - 3.5 * y - 0.1 * x)
        found.append((x, y))
    return np.array(found[300:]).T


def library_sizes(length: int) -> list[int]:
    """Return 20 library sizes in geometric progression.

    Args:
      length: number of points.

    Returns:
      Sizes from 20 to 95 % of the points.
    """
    import numpy as np

    return np.unique(np.geomspace(20, 0.95 * length, SIZES).astype(int)).tolist()


def ours(task: str, length: int, steps: int = 1, theta: float = 3.0, variables: int = 30):
    """Make a function that carries out a task with our package.

    Args:
      task: `ccm`, `smap`, `simplex` or `matrix` (cross maps of all pairs of many variables).
      length: number of points of each series.
      steps: repetitions per call of the function.
      theta: localisation of the S-map.
      variables: number of variables of `matrix`.

    Returns:
      A function without arguments.
    """
    import numpy as np

    from analysis import edm

    def make(points):
        x, y = coupled_maps(points)
        half = points // 2
        rows = {"library": np.arange(2, half - 1), "prediction": np.arange(half, points)}
        many = np.random.default_rng(0).standard_normal((points, variables)).cumsum(0)
        settings = {"sizes": library_sizes(points), "samples": SAMPLES, "dimension": DIMENSION}
        every = settings | {"dimensions": [settings["dimension"]] * variables}
        del every["dimension"]
        return {
            "ccm": lambda: edm.ccm(x, y, **settings),
            # The same number of library rows as in pyEDM, which leaves out the farthest rows.
            "smap": lambda: edm.smap(
                x, x, **rows, dimension=DIMENSION, theta=theta, neighbours=half - 4
            ),
            "simplex": lambda: edm.simplex(x, x, **rows, dimension=DIMENSION),
            "matrix": lambda: edm.cross_maps(many, **every),
        }[task]

    make(WARM)()
    return _repeated(make(length), steps)


def pyedm(task: str, length: int, steps: int = 1, theta: float = 3.0, variables: int = 30):
    """Make a function that carries out the same task with pyEDM, in one process.

    The arguments are those of `ours`. The task `matrix` maps a single pair instead of all pairs.
    """
    import numpy as np
    import pandas as pd
    import pyEDM

    x, y = coupled_maps(length)
    half = length // 2
    frame = pd.DataFrame({"Time": np.arange(length), "x": x, "y": y})
    if task == "matrix":
        pair = np.random.default_rng(0).standard_normal((length, variables)).cumsum(0)[:, :2]
        frame["x"], frame["y"] = pair.T
    common = {"dataFrame": frame, "columns": "x", "E": DIMENSION}
    halves = common | {"target": "x", "lib": [1, half], "pred": [half + 1, length]}
    cross = common | {"target": "y", "seed": 777, "parallel": False}
    run = {
        "ccm": lambda: pyEDM.CCM(**cross, libSizes=library_sizes(length), sample=SAMPLES),
        "smap": lambda: pyEDM.SMap(**halves, theta=theta),
        "simplex": lambda: pyEDM.Simplex(**halves, kdWorkers=1),
        "matrix": lambda: pyEDM.CCM(**cross, libSizes=library_sizes(length), sample=SAMPLES),
    }[task]
    return _repeated(run, steps)


def _repeated(run, steps):
    def work():
        for _ in range(steps):
            run()

    return work
