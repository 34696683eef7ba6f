"""Synthetic series without a jump, in which a detector must not find one."""

import numpy as np

LENGTH = 400


def nulls(seed: int) -> dict[str, np.ndarray]:
    """Make all series without a jump for one seed.

    Noise has a standard deviation of 1 unless the name of the series says otherwise.

    Args:
      seed: seed of the noise, places, directions and phases.

    Returns:
      Series [LENGTH] by name.
    """
    rng = np.random.default_rng([seed, 1])
    return _changing_noise(rng) | _memory(rng) | _heavy_tails(rng) | _smooth(rng) | _counts(rng)


def autoregressive(noise, *phi):
    """Make an autoregressive series [T] from noise [T] and coefficients at lags 1, 2, ..."""
    series = np.zeros(len(noise))
    for i in range(len(noise)):
        past = series[max(i - len(phi), 0) : i][::-1]
        series[i] = noise[i] + np.dot(phi[: len(past)], past)
    return series


def recovery(t, fall, rise, log_noise):
    """Make a typical D(t): a collapse with one time constant and a recovery with another."""
    log_d = np.log(10) - 0.9 * (1 - np.exp(-t / fall)) + 0.6 * (1 - np.exp(-t / rise))
    return np.exp(log_d + log_noise)


def garch(shocks, alpha, beta):
    """Make GARCH(1,1) noise [T] of variance 1 from shocks [T] (Bollerslev 1986).

    See https://doi.org/10.1016/0304-4076(86)90063-1.
    """
    variance, series = 1.0, np.zeros(len(shocks))
    for i, shock in enumerate(shocks):
        series[i] = np.sqrt(variance) * shock
        variance = 1 - alpha - beta + alpha * series[i] ** 2 + beta * variance
    return series


def _place(rng):
    return int(rng.integers(LENGTH // 4, 3 * LENGTH // 4))


def _changing_noise(rng):
    t = np.arange(LENGTH)

    def noise():
        return rng.standard_normal(LENGTH)

    def changing(factor, length=LENGTH):
        since = t - _place(rng)
        return np.where((since >= 0) & (since < length), factor, 1)

    tails = rng.standard_t(5, LENGTH) / np.sqrt(5 / 3)
    return {
        "noise x2": changing(2) * noise(),
        "noise x3": changing(3) * noise(),
        "noise x10": changing(10) * noise(),
        "noise / 2": changing(1 / 2) * noise(),
        "noise / 3": changing(1 / 3) * noise(),
        "noise x4 for 40": changing(4, 40) * noise(),
        "noise of 10 % of the level": (1 + t / 50) * (1 + 0.1 * noise()),
        "noise of 5 % of a decay": (0.5 + 10 * np.exp(-t / 80)) * (1 + 0.05 * noise()),
        "GARCH .1, .89": garch(noise(), 0.1, 0.89),
        "GARCH .2, .79": garch(noise(), 0.2, 0.79),
        "GARCH .4, .59": garch(noise(), 0.4, 0.59),
        "GARCH .1, .89, t(5)": garch(tails, 0.1, 0.89),
        "stochastic volatility": noise() * np.exp(autoregressive(0.2 * noise(), 0.95)),
        "AR(1) .56, noise x3": autoregressive(noise(), 0.56) * changing(3),
        "AR(1) .9, noise x3": autoregressive(noise(), 0.9) * changing(3),
        "random walk, noise x3": np.cumsum(noise() * changing(3)),
    }


def _memory(rng):
    def noise():
        return rng.standard_normal(LENGTH)

    def oscillation(period, decay):
        return 2 * decay * np.cos(2 * np.pi / period), -(decay**2)

    frequency = np.fft.rfftfreq(2 * LENGTH)
    spectrum = rng.standard_normal((2, len(frequency))).T @ [1, 1j]
    spectrum[1:] /= np.sqrt(frequency[1:])
    calm, place = noise(), _place(rng)
    restless = autoregressive(noise(), 0.9)[: LENGTH - place]
    return {
        "AR(1) .3": autoregressive(noise(), 0.3),
        "AR(1) .56": autoregressive(noise(), 0.56),
        "AR(1) .8": autoregressive(noise(), 0.8),
        "AR(1) .95": autoregressive(noise(), 0.95),
        "AR(1) .2, then .9": np.append(autoregressive(calm, 0.2)[:place], restless),
        "AR(2), period 20": autoregressive(noise(), *oscillation(20, 0.95)),
        "AR(2), period 60": autoregressive(noise(), *oscillation(60, 0.97)),
        "moving average of 5": np.convolve(rng.standard_normal(LENGTH + 4), np.ones(5), "valid"),
        "pink noise": np.fft.irfft(spectrum)[:LENGTH],
        "slow walk in noise": 0.2 * np.cumsum(noise()) + noise(),
        "exponential of a walk": np.exp(0.03 * np.cumsum(noise())),
    }


def _heavy_tails(rng):
    return {
        "Student t(2.5)": rng.standard_t(2.5, LENGTH),
        "Cauchy": rng.standard_cauchy(LENGTH),
        "log-normal": rng.lognormal(size=LENGTH),
        "outliers x10": rng.standard_normal(LENGTH) * np.where(rng.random(LENGTH) < 0.05, 10, 1),
    }


def _smooth(rng):
    t = np.arange(LENGTH)

    def noise(size=1.0):
        return size * rng.standard_normal(LENGTH)

    def since():
        return (t - _place(rng)).clip(0) * rng.choice([-1, 1])

    def sigmoid(width):
        return rng.choice([-1, 1]) / (1 + np.exp(-(t - _place(rng)) * 6 / width))

    def relaxation(tau):
        after = since()
        return np.sign(after) * (1 - np.exp(-np.abs(after) / tau))

    def sine(period, size):
        return size * np.sin(2 * np.pi * t / period + rng.uniform(0, 2 * np.pi))

    pieces = np.repeat(rng.choice([-0.3, 0, 0.3], 4), LENGTH // 4)
    schedule = np.repeat([0.1, 0.03, 0.01, 0.003], LENGTH // 4)
    periods = (10, 20, 40, 60, 100, 200, 400)
    return {
        **{f"kink of {slope} a point": noise() + slope * since() for slope in (0.05, 0.1, 0.3, 3)},
        "kink, noise .001": noise(0.001) + since(),
        "four slopes": noise() + np.cumsum(pieces),
        "slopes of a schedule": noise(0.1) + np.cumsum(schedule),
        "triangle wave": noise() + 0.5 * np.abs((t + rng.integers(80)) % 80 - 40),
        **{f"sine, period {p}": noise() + sine(p, rng.choice([1, 3, 10])) for p in periods},
        "sine that starts": noise() + 5 * np.sin(2 * np.pi * since() / 60),
        **{f"sigmoid of {k} over 60": noise() + k * sigmoid(60) for k in (3, 6, 10, 20, 50)},
        "sigmoid of 10 over 30": noise() + 10 * sigmoid(30),
        "sigmoid, noise .001": noise(0.001) + sigmoid(60),
        "ramp of 5 over 30": noise() + 5 * np.clip(since() / 30, -1, 1),
        "ramp of 20 over 60": noise() + 20 * np.clip(since() / 60, -1, 1),
        **{f"relaxation of {k}, tau 40": noise() + k * relaxation(40) for k in (5, 10, 20, 100)},
        "relaxation, noise .001": noise(0.001) + relaxation(40),
        "logistic growth": noise() + 20 / (1 + np.exp(-(t - LENGTH / 2) / 40)),
        "bump": noise() + 8 * np.exp(-(((t - _place(rng)) / 30) ** 2) / 2),
    }


def _counts(rng):
    t = np.arange(LENGTH)
    noise = rng.standard_normal(LENGTH)
    return {
        "rounded sine": np.round(3 * np.sin(2 * np.pi * t / 100) + 0.2 * noise),
        "rounded drift": np.round(5 + t / 80 + 0.1 * noise),
        "rounded drift, no noise": np.round(5 + t / 90),
        "mean of three counts": np.round(
            8 + t / 150 + 0.15 * rng.standard_normal((3, LENGTH))
        ).mean(0),
        "Poisson counts": rng.poisson(3, LENGTH).astype(float),
        "rare events": (rng.random(LENGTH) < 0.05).astype(float),
    }
