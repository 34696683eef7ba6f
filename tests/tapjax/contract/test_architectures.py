import pytest

from tapjax.contract import architectures

MNIST, CIFAR = (28, 28, 1), (32, 32, 3)
# Parameters on MNIST of the recorded runs of the earlier system.
RECORDED_PARAMS = {
    "mlp_shallow_2": 109_386,
    "mlp_medium_5": 65_130,
    "mlp_deep_10": 34_954,
    "mlp_verydeep_15": 27_490,
    "mlp_narrow": 28_618,
    "mlp_medium": 130_058,
    "mlp_wide": 317_450,
    "mlp_verywide": 864_266,
    "cnn_shallow": 50_186,
    "cnn_medium": 104_202,
    "cnn_deep": 390_410,
    "transformer_shallow": 406_282,
    "transformer_medium": 802_826,
    "transformer_deep": 1_199_370,
    "transformer_narrow": 204_810,
}


def test_the_zoo_has_the_seventeen_architectures():
    assert len(architectures.ZOO) == 17


@pytest.mark.parametrize("name", RECORDED_PARAMS)
def test_parameters_on_mnist(name):
    arch = architectures.parse_architecture(name)
    assert architectures.count_params(arch, MNIST, 10) == RECORDED_PARAMS[name]


def test_structure_follows_each_familys_convention():
    wide = architectures.structure(architectures.ZOO["mlp_wide"], MNIST, 10)
    assert (wide["depth"], wide["width"], wide["min_width"]) == (4, 192.0, 128)
    assert wide["connectivity"] == pytest.approx(317_450 / (784 + 768 + 10))
    cnn = architectures.structure(architectures.ZOO["cnn_medium"], MNIST, 10)
    assert (cnn["depth"], round(cnn["width"], 1)) == (4, 74.7)
    transformer = architectures.structure(architectures.ZOO["transformer_deep"], MNIST, 10)
    assert (transformer["depth"], transformer["max_width"]) == (6, 512)
    assert architectures.structure(architectures.ZOO["resnet18"], CIFAR, 10)["depth"] == 18


@pytest.mark.parametrize(
    "name",
    [
        "mlp_wid",
        "mlp:depth=2",
        "mlp:height=2,width=3",
        "transformer:depth=1,width=6,heads=4",
        "mlp:depth=0,width=3",
        "cnn:channels=a-b",
    ],
)
def test_bad_architectures_are_refused(name):
    with pytest.raises(ValueError, match=name.split(":")[0]):
        architectures.parse_architecture(name)
