"""Results that the notes on learned credit assignment report, by experiment and method.

`where` contains the config fields that make a run of this package the same experiment. Settings
that the notes do not give are our choice. The values are those of the notes, means over their
seeds.
"""


def _rows(table, where, **methods):
    names = {"vector": "vector plain", "onesided": "vector plain onesided"}
    names |= {"shuffled": "vector plain shuffled"}
    return [
        {"table": table, "where": where, "method": names.get(name, name), "values": values}
        for name, values in methods.items()
    ]


def _quality(gamma, rho, **more):
    return {"gamma": gamma, "rho": rho} | more


def _teacher(alpha, depth, **more):
    model = f"residual:depth={depth},width=128"
    return {"data.name": "teacher", "blocks.alpha": alpha, "model.name": model} | more


WARMUP = "warm-up"  # warm-up as a share of training; this key is not a config field
LQ = {"data.name": "lq", "blocks.block_scale": 0.17, "credit.code": "error"}
CIFAR = {"data.name": "cifar10", "model.name": "residual:depth=4,width=256"}
FROZEN = CIFAR | {"optimizer.name": "adamw"}
RMS = {"rule.freeze_step": 0, "rule.normalise": "rms"}
ONLINE = CIFAR | RMS
# Depth -> (Gamma, rho) of direct feedback, of the state bridge and of the scalar bridge.
LADDER = {2: ((0.03, 0.03), (0.52, 0.47), (0.53, 0.57))}
LADDER |= {4: ((0.05, 0.06), (0.34, 0.32), (0.45, 0.51))}
LADDER |= {8: ((0.06, 0.07), (0.25, 0.23), (0.36, 0.42))}
LADDER |= {12: ((0.07, 0.07), (0.22, 0.21), (0.24, 0.32))}
CODES = {"error": (0.452, 0.509, 0.523), "delta": (0.562, 0.510, 0.448)}
CODES |= {"error+h": (0.002, 0.016, 0.559), "delta+h": (0.018, 0.026, 0.564)}

NOTES = [
    *_rows(
        "toy LQ",
        LQ | {"credit.terminal": 1.0},
        state_bridge=_quality(0.945, 0.931, nudge=-0.344),
        scalar_bridge=_quality(0.944, 0.930, nudge=-0.342),
    ),
    *_rows("toy LQ", LQ | {"credit.terminal": 0.0}, scalar_bridge={"gamma": 0.03}),
    *_rows("toy LQ", LQ, dfa=_quality(0.001, 0.001, nudge=0.0)),
    *_rows("toy LQ", LQ, state_bridge=_quality(0.945, 0.931, nudge=-0.344)),
    *(
        row
        for code, (gamma, rho, accuracy) in CODES.items()
        if code != "error"
        for row in _rows(
            "boundary ablation",
            _teacher(1.0, 4) | {"credit.code": code, "credit.terminal": 1.0},
            scalar_bridge=_quality(gamma, rho, accuracy=accuracy),
        )
    ),
    *(
        row
        for terminal, gamma in ((0.0, 0.12), (4.0, 0.57))
        for row in _rows(
            "boundary ablation",
            _teacher(1.0, 4) | {"credit.terminal": terminal},
            scalar_bridge={"gamma": gamma},
        )
    ),
    *(
        row
        for warmup, gamma, accuracy in ((0.0, 0.68, 0.46), (0.5, 0.23, 0.66))
        for row in _rows(
            "boundary ablation",
            _teacher(1.0, 4) | {WARMUP: warmup},
            scalar_bridge={"gamma": gamma, "accuracy": accuracy},
        )
    ),
    *(
        row
        for depth, (dfa, state, scalar) in LADDER.items()
        for where, methods in (
            ({}, {"dfa": _quality(*dfa)}),
            ({WARMUP: 0.2}, {"state_bridge": _quality(*state)}),
            (
                {WARMUP: 0.2, "credit.terminal": 1.0, "credit.code": "error"},
                {"scalar_bridge": _quality(*scalar)},
            ),
        )
        for row in _rows(
            "nonlinearity ladder",
            _teacher(1.0, depth, **where),
            **methods,
        )
    ),
    *_rows(
        "vector audit",
        _teacher(1.0, 4) | {"credit.terminal": 0.0},
        vector=_quality(0.955, 0.971, nudge=-0.027),
    ),
    *_rows(
        "vector pilot and audit",
        _teacher(1.0, 4),
        vector=_quality(0.91, 0.96),
        shuffled=_quality(0.051, 0.068, nudge=-0.001),
        onesided=_quality(0.832, 0.943, nudge=-0.024),
    ),
    *_rows("vector pilot", _teacher(1.0, 8), vector=_quality(0.96, 0.95)),
    *_rows(
        "frozen CIFAR-10",
        FROZEN,
        dfa=_quality(0.005, 0.005),
        state_bridge=_quality(0.287, 0.264),
        scalar_bridge=_quality(0.115, 0.120),
        vector=_quality(0.364, 0.426),
    ),
    *_rows("online CIFAR-10", ONLINE, dfa=_quality(0.101, -0.005, accuracy=0.312)),
    *_rows("online CIFAR-10", ONLINE, state_bridge=_quality(0.025, -0.013)),
    *_rows(
        "online CIFAR-10",
        ONLINE | {WARMUP: 0.2, "credit.code": "error", "credit.terminal": 4.0},
        scalar_bridge=_quality(0.187, 0.002, accuracy=0.285),
    ),
    *_rows(
        "online CIFAR-10",
        ONLINE | {WARMUP: 0.2, "credit.code": "error", "credit.terminal": 1.0},
        scalar_bridge=_quality(0.179, 0.009, accuracy=0.283),
        vector=_quality(0.001, 0.000, accuracy=0.243),
    ),
    *_rows("online CIFAR-10", ONLINE | {"credit.code": "delta"}, scalar_bridge=_quality(0.0, 0.0)),
    *(
        row
        for depth, dfa, scalar in (
            (2, (0.196, 0.001, 0.312), (0.175, 0.031, 0.311)),
            (4, (0.100, 0.003, 0.314), (0.123, -0.002, 0.298)),
        )
        for row in _rows(
            "depth scan",
            {"data.name": "cifar10", "model.name": f"residual:depth={depth},width=512"} | RMS,
            dfa=_quality(*dfa[:2], accuracy=dfa[2]),
            scalar_bridge=_quality(*scalar[:2], accuracy=scalar[2]),
        )
    ),
]
