"""Neural collapse of the last hidden layer."""

import jax.numpy as jnp

from tapjax.measure.probes import pooled

LEAST = 1e-6  # relative to the largest; smaller directions between classes do not count


def measure(model, loss, state, data, key) -> dict:
    """Measure how far the classes have collapsed to points of a simplex.

    Question: do the examples of a class become one point, and the classes equally far apart (Papyan
    et al. 2020, https://arxiv.org/abs/2008.08186)?

    Args:
      model: network, a `types.Model`; it is run in evaluation mode.
      loss: not used.
      state: TrainState of one seed.
      data: DeviceData; the last hidden layer is measured on the probe examples, before its
        nonlinearity. It is averaged over space and tokens, or flattened if the head does not
        average.
      key: not used.

    Returns:
      `nc1`, the variability within classes relative to that between them, tr(S_W S_B^+) / C;
      `nc2_norms`, the coefficient of variation of the distances of the class means from the common
      mean; `nc2_angles`, the mean distance of the cosines between class means from -1 / (C - 1);
      `nc4`, the share of examples that the network puts into another class than that of the
      nearest class mean; and, if the head is an affine map of tapjax's own, `nc3`, the distance
      between the centred class means and the weights of the head, each divided by its norm. All are
      0 for a collapsed network; there are C classes with examples. `class_radius [C]` and
      `class_dimension [C]` describe the manifold of each class, see `manifolds`.
    """
    del loss, key
    logits_PxC, hidden, _ = model.apply(state.params, state.stats, data.probe.x)
    head = model.affine(state.params).get(model.layer_names[-1])
    h_PxD = pooled(hidden[-2], "mean")
    if head is not None and len(head) != h_PxD.shape[1] + 1:
        h_PxD = hidden[-2].reshape(len(h_PxD), -1)
    member_CxP = (jnp.arange(logits_PxC.shape[-1])[:, None] == data.probe.y[None]).astype(
        jnp.float32
    )
    found = collapse(h_PxD, member_CxP) | manifolds(h_PxD, member_CxP)
    found["nc4"] = _disagreement(h_PxD, member_CxP, logits_PxC)
    if head is not None and len(head) == h_PxD.shape[1] + 1:
        found["nc3"] = duality(h_PxD, member_CxP, head[:-1])
    return found


def collapse(h_PxD, member_CxP) -> dict:
    """Compute `nc1`, `nc2_norms` and `nc2_angles`, see `measure`.

    Args:
      h_PxD: activations.
      member_CxP: 1 if the example belongs to the class, else 0.

    Returns:
      Dict of scalars.
    """
    count_C = member_CxP.sum(1)
    known_C = count_C > 0
    classes = known_C.sum()
    means_CxD = member_CxP @ h_PxD / jnp.maximum(count_C, 1)[:, None]
    common_D = (means_CxD * known_C[:, None]).sum(0) / classes
    apart_CxD = (means_CxD - common_D[None]) * known_C[:, None]
    within_PxD = h_PxD - member_CxP.T @ means_CxD
    # Directions between classes, from the small Gram matrix of the class means.
    s_C, u_CxC = jnp.linalg.eigh(apart_CxD @ apart_CxD.T / classes)
    kept_C = s_C > LEAST * s_C[-1]
    safe_C = jnp.where(kept_C, s_C, 1.0)
    along_PxC = within_PxD @ apart_CxD.T @ u_CxC
    spread_C = jnp.square(along_PxC).mean(0) / (classes * safe_C)
    norm_C = jnp.sqrt(jnp.square(apart_CxD).sum(1))
    mean_norm = norm_C.sum() / classes
    deviation = jnp.where(known_C, norm_C - mean_norm, 0.0)
    unit_CxD = apart_CxD / jnp.where(norm_C > 0, norm_C, 1.0)[:, None]
    pairs_CxC = known_C[:, None] & known_C[None] & ~jnp.eye(len(known_C), dtype=bool)
    angles_CxC = jnp.where(pairs_CxC, jnp.abs(unit_CxD @ unit_CxD.T + 1 / (classes - 1)), 0.0)
    return {
        "nc1": jnp.where(kept_C, spread_C / safe_C, 0.0).sum() / classes,
        "nc2_norms": jnp.sqrt(jnp.square(deviation).sum() / classes) / mean_norm,
        "nc2_angles": angles_CxC.sum() / pairs_CxC.sum(),
    }


def _disagreement(h_PxD, member_CxP, logits_PxC):
    count_C = member_CxP.sum(1)
    means_CxD = member_CxP @ h_PxD / jnp.maximum(count_C, 1)[:, None]
    distance_PxC = jnp.square(means_CxD).sum(1)[None] - 2 * h_PxD @ means_CxD.T
    nearest_P = jnp.where(count_C[None] > 0, distance_PxC, jnp.inf).argmin(1)
    return (nearest_P != logits_PxC.argmax(1)).mean()


def duality(h_PxD, member_CxP, weights_DxC):
    """Compute `nc3`, the distance of the weights of the head from the class means.

    Args:
      h_PxD: activations of the last hidden layer.
      member_CxP: 1 if the example belongs to the class, else 0. Classes without examples are left
        out.
      weights_DxC: weights of the head.

    Returns:
      Scalar, from 0 for equal directions to 2 for opposite ones.
    """
    count_C = member_CxP.sum(1)
    known_C = count_C > 0
    means_CxD = member_CxP @ h_PxD / jnp.maximum(count_C, 1)[:, None]
    common_D = (means_CxD * known_C[:, None]).sum(0) / known_C.sum()
    apart_CxD = (means_CxD - common_D[None]) * known_C[:, None]
    own_CxD = (weights_DxC.T - weights_DxC.mean(1)[None]) * known_C[:, None]
    return jnp.linalg.norm(_unit(apart_CxD) - _unit(own_CxD))


def _unit(matrix):
    norm = jnp.linalg.norm(matrix)
    return matrix / jnp.where(norm > 0, norm, 1.0)


def manifolds(h_PxD, member_CxP) -> dict:
    """Measure the radius and the dimension of the manifold of each class.

    They are those of Gaussian manifolds (Cohen et al. 2020,
    https://doi.org/10.1038/s41467-020-14578-5), without the geometry of anchor points.

    Args:
      h_PxD: activations of the last hidden layer.
      member_CxP: 1 if the example belongs to the class, else 0.

    Returns:
      `class_radius [C]`, the root mean square distance of the examples of a class from their mean,
      relative to the distance of this mean from the common mean; and `class_dimension [C]`, the
      participation ratio of their covariance, from 0 for a point to min(D, examples - 1). Both are
      not-a-number for a class without examples.
    """
    count_C = member_CxP.sum(1)
    safe_C = jnp.maximum(count_C, 1)
    means_CxD = member_CxP @ h_PxD / safe_C[:, None]
    known_C = count_C > 0
    common_D = (means_CxD * known_C[:, None]).sum(0) / known_C.sum()
    within_PxD = h_PxD - member_CxP.T @ means_CxD
    gram_PxP = within_PxD @ within_PxD.T
    energy_C = member_CxP @ jnp.diag(gram_PxP) / safe_C
    # The trace of the squared covariance is the sum of the squared inner products.
    squares_C = ((member_CxP @ jnp.square(gram_PxP)) * member_CxP).sum(1) / jnp.square(safe_C)
    apart_C = jnp.sqrt(jnp.square(means_CxD - common_D[None]).sum(1))
    dimension_C = jnp.square(energy_C) / jnp.where(squares_C > 0, squares_C, 1.0)
    radius_C = jnp.sqrt(energy_C) / jnp.where(apart_C > 0, apart_C, jnp.nan)
    return {
        "class_radius": jnp.where(known_C, radius_C, jnp.nan),
        "class_dimension": jnp.where(known_C, dimension_C, jnp.nan),
    }
