"""Every optimizer, mitigation, model and kind of run trains, is stopped, resumes, and is the same.

The whole table: python -m pytest -m "long or not long" tests/tapjax/run/test_resume_matrix.py
"""

import contextlib

import pytest

from configs import common
from configs.credit import lq, online
from configs.plasticity import bits, continual
from configs.plasticity.mitigations import MITIGATIONS
from tapjax.config import schema
from tapjax.run import loop
from tapjax.store import checkpoint
from tests.tapjax.same import assert_same_run

pytestmark = pytest.mark.usefixtures("full_compile")
STEPS, CHUNK = 30, 10


def small(family="tap", **fields):
    """A run of three chunks of two seeds; `fields` with `__` for a dot."""
    cfg = schema.defaults(family)
    cfg.seeds, cfg.steps, cfg.chunk_steps, cfg.eval_every = (0, 1), STEPS, CHUNK, 0
    cfg.checkpoint.every, cfg.data.batch_size, cfg.probe.size = CHUNK, 16, 32
    cfg.data.train_size, cfg.data.test_size = 200, 100
    cfg.model.name = "mlp:depth=2,width=6"
    cfg.update_from_flattened_dict({k.replace("__", "."): v for k, v in fields.items()})
    return cfg


def shortened(cfg, **fields):
    """A config of the project, as short as the others."""
    cfg = common.quick(cfg)
    cfg.steps, cfg.chunk_steps, cfg.checkpoint.every, cfg.probe.every = STEPS, CHUNK, CHUNK, 5
    cfg.eval_every, cfg.probe.size, cfg.seeds, cfg.scalar_bin = 0, 32, (0, 1), 1
    cfg.update_from_flattened_dict({k.replace("__", "."): v for k, v in fields.items()})
    return cfg


def mitigated(name):
    fields = {"renewal__rate": 0.05, "renewal__maturity": 3, "tasks__steps": 10}
    return shortened(bits.get_config(f"quick,mitigation={name}"), **fields)


CHOICES = {name: field.check.choices for name, field in schema.fields("tap").items()}
CASES = {
    **{f"optimizer {n}": lambda n=n: small(optimizer__name=n) for n in CHOICES["optimizer.name"]},
    **{
        f"schedule {n}": lambda n=n: small(optimizer__schedule=n)
        for n in CHOICES["optimizer.schedule"]
    },
    **{
        f"model {n}": lambda n=n: small(model__name=n)
        for n in (
            "cnn:channels=2-3",
            "resnet:channels=2-3",
            "transformer:depth=1,width=8,heads=2",
            "vit:depth=1,width=8,heads=2",
        )
    },
    **{f"mitigation {n}": lambda n=n: mitigated(n) for n in MITIGATIONS},
    "clone": lambda: small(family="plasticity", clone__step=10, clone__factor=2),
    "permuted tasks": lambda: shortened(
        continual.get_config("dataset=digits,kind=permuted,tasks=2"), tasks__steps=10
    ),
    "recording": lambda: small(family="motifs"),
    **{
        f"credit {n}": lambda n=n: shortened(online.get_config(f"quick,dataset=digits,method={n}"))
        for n in ("dfa", "vector", "vector_response", "scalar_bridge", "state_bridge")
    },
    "credit through convolutions": lambda: shortened(
        online.get_config("quick,dataset=digits,net=residual_conv,width=4,method=vector")
    ),
    "linear dynamics": lambda: shortened(
        lq.get_config("quick,method=state_bridge"), probe__every=10
    ),
}
DECODER = "decoder:depth=1,width=8,heads=2"
CASES |= {
    f"data {name}": lambda name=name, fields=fields: small(
        data__name=name, data__train_size=0, **fields
    )
    for name, fields in {
        "induction:vocab=8,length=8": {"model__name": DECODER + ",mlp=0,norm=none"},
        "icl:dim=2,examples=4": {
            "model__name": DECODER + ",positions=rotary", "loss": "regression"
        },
        "parity:bits=6,relevant=2": {},
        "parity:bits=5,relevant=2": {"model__name": DECODER},
        "mixture:tasks=3,bits=6,relevant=2": {"over_seeds": "loop"},
        "modular:p=31,shuffled=1": {"model__name": DECODER},
        "digits": {"model__name": DECODER},
    }.items()
}  # fmt: skip
# What a short test suite can afford: the first failed once.
FEW = ("mitigation spectral", "data induction:vocab=8,length=8")


def stop_after(cfg, path, step, **options):
    """Train until the checkpoint of a step is written, and no further."""
    save = checkpoint.save

    def save_and_stop(manager, at, states):
        save(manager, at, states)
        if at == step:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch, contextlib.suppress(KeyboardInterrupt):
        patch.setattr(checkpoint, "save", save_and_stop)
        loop.run(cfg, path, **options)


@pytest.mark.slow
@pytest.mark.parametrize(
    "case", [n if n in FEW else pytest.param(n, marks=pytest.mark.long) for n in CASES]
)
def test_a_run_that_was_stopped_is_the_undisturbed_one(case, tmp_path):
    assert loop.run(CASES[case](), tmp_path / "a").status == "DONE"
    stop_after(CASES[case](), tmp_path / "b", 2 * CHUNK)
    assert loop.run(CASES[case](), tmp_path / "b").status == "DONE"
    assert "start at step 20" in (tmp_path / "b" / "log.txt").read_text()
    assert_same_run(tmp_path / "a", tmp_path / "b")
