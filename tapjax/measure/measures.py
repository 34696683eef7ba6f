"""Measures by name, which `tapjax measure` computes at any step of a run."""

from tapjax.measure import (
    collapse,
    curvature,
    examples,
    intrinsic_dimension,
    kernel,
    noise_scale,
)
from tapjax.types import Measure

MEASURES = {
    "examples": Measure(
        examples.measure, 1, "which examples are learned: loss, margin and error of each"
    ),
    "noise_scale": Measure(
        noise_scale.measure, 6, "is a batch large enough: noise of the gradient, by example"
    ),
    "curvature": Measure(
        curvature.measure, 300, "how sharp is the loss: eigenvalues and trace of its Hessian"
    ),
    "kernel": Measure(kernel.measure, 20, "lazy or feature learning: the empirical tangent kernel"),
    "collapse": Measure(
        collapse.measure, 1, "do classes become points: neural collapse of the last hidden layer"
    ),
    "intrinsic_dimension": Measure(
        intrinsic_dimension.measure, 2, "manifold or linear spread: TwoNN of every layer"
    ),
}
