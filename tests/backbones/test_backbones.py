import pickle

import pytest
import timm
import torch
from fast_set import slowly
from safetensors.torch import save_file
from torch import nn

from calbench.benchmark import backbones
from calbench.benchmark.core.errors import InputError
from calbench.datasets import registry as datasets

MICRO = ["vit-micro", "deit-micro", "swin-micro"]
HEAVY = {"vit-b16-224", "deit-s16-224", "swin-s-224"}


@pytest.fixture(scope="module")
def digits():
    return datasets.create("digits")


@pytest.fixture(scope="module")
def cifar():
    return datasets.create("cifar10")


def forward(module, channels=1, size=8, count=2):
    module.eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        return module(torch.randn(count, channels, size, size, generator=generator))


def agrees(info, representation):
    given = representation.features.shape[1], representation.cls_token is not None
    assert given == (info.num_features, info.has_cls_token)
    assert (representation.patch_tokens is not None) == info.has_patch_tokens
    for tokens in (representation.cls_token, representation.patch_tokens):
        assert tokens is None or tokens.shape[-1] == info.num_features


@pytest.mark.parametrize("name", MICRO)
@pytest.mark.parametrize(("channels", "size"), [(1, 8), (3, 32)])
def test_micro_backbones_give_what_they_declare(name, channels, size, digits, cifar):
    backbone = backbones.create(name)
    representation = forward(backbone.build(7, channels, size), channels, size)
    assert representation.logits.shape == (2, 7)
    agrees(backbone.info(digits if channels == 1 else cifar), representation)


@pytest.mark.parametrize("name", sorted(set(backbones.registry) - set(MICRO) - HEAVY - {"timm"}))
def test_backbones_for_32_pixels_give_what_they_declare(name, cifar):
    backbone = backbones.create(name)
    with torch.device("meta"):
        module = backbone.build(10, 3, 32).eval()
        representation = module(torch.empty(2, 3, 32, 32))
    assert representation.logits.shape == (2, 10)
    agrees(backbone.info(cifar), representation)
    assert backbone.data_config(cifar).image_size == 32


@pytest.mark.parametrize(
    ("name", "millions"),
    [("resnet110-32", 1.73), ("resnet50-32", 23.52), ("wrn-26-10-32", 36.48), ("densenet121-32", 6.96)],
)
def test_cnns_have_the_published_sizes(name, millions):
    with torch.device("meta"):
        module = backbones.create(name).build(10, 3, 32)
    assert round(sum(p.numel() for p in module.parameters()) / 1e6, 2) == millions


@pytest.mark.parametrize("name", sorted(HEAVY))
def test_pinned_backbones_give_what_they_declare(name, digits):
    backbone = backbones.create(name, pretrained=False)
    with torch.device("meta"):
        module = backbone.build(10, 1, 8).eval()
        representation = module(torch.empty(1, 1, 224, 224))
    agrees(backbone.info(digits), representation)
    config = backbones.create(name).data_config(digits)
    assert (config.image_size, len(config.mean), config.interpolation) == (224, 1, "bicubic")
    assert backbone.data_config(digits).mean == digits.mean


@pytest.mark.parametrize("name", [*MICRO, "timm:resnet18"])
def test_one_pass_gives_the_models_own_logits_and_features(name):
    torch.manual_seed(0)
    module = backbones.create(name).build(5, 3, 32).eval()
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.2)
    images = torch.randn(3, 3, 32, 32)
    calls = []
    for part in module.model.modules():
        part.register_forward_hook(lambda part, *_: calls.append(part))
    given = module(images)
    # Each part runs once, the patch embedding or first convolution included.
    runs = [sum(part is call for call in calls) for part in module.model.modules() if isinstance(part, nn.Conv2d)]
    assert set(runs) == {1}
    torch.testing.assert_close(given.logits, module.model(images))
    torch.testing.assert_close(given.features, module.model.forward_head(module.model.forward_features(images), True))


def test_swin_tokens_average_to_its_features():
    representation = forward(backbones.create("swin-micro").build(10, 1, 8))
    torch.testing.assert_close(representation.patch_tokens.mean(1), representation.features)
    assert representation.cls_token is None


def test_vit_features_are_the_cls_token_and_deit_features_the_mean_of_both():
    vit = forward(backbones.create("vit-micro").build(10, 1, 8))
    torch.testing.assert_close(vit.cls_token, vit.features)
    deit = forward(backbones.create("deit-micro").build(10, 1, 8))
    assert not torch.allclose(deit.cls_token, deit.features)
    assert deit.patch_tokens.shape == (2, 4, 48)


def test_deit_averages_its_heads_in_training_too():
    torch.manual_seed(0)
    module = backbones.create("deit-micro").build(10, 1, 8)
    nn.init.normal_(module.model.head.weight)
    nn.init.normal_(module.model.head_dist.weight)
    images = torch.randn(2, 1, 8, 8)
    trained = module.train()(images).logits
    torch.testing.assert_close(trained, module.eval()(images).logits)
    trained.sum().backward()
    torch.testing.assert_close(module.model.head.bias.grad, module.model.head_dist.bias.grad)


def test_pooled_before_the_norm_the_tokens_are_normed_here():
    module = backbones.create("timm:vit_tiny_patch16_224", kwargs={"global_pool": "avg", "depth": 1}).build(3, 3, 32)
    tokens = forward(module, 3, 32).patch_tokens
    torch.testing.assert_close(tokens.mean(-1), torch.zeros(tokens.shape[:2]), atol=1e-4, rtol=0)


def test_seed_decides_the_weights():
    def weights(seed):
        torch.manual_seed(seed)
        return torch.cat([p.flatten() for p in backbones.create("swin-micro").build(10, 1, 8).parameters()])

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))


def test_no_weight_decay_names_are_parameters():
    module = backbones.create("deit-micro").build(10, 1, 8)
    names = module.no_weight_decay()
    assert {"model.pos_embed", "model.cls_token", "model.dist_token"} <= names <= set(dict(module.named_parameters()))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("vit-mikro", {}, "did you mean 'vit-micro'"),
        ("vit-micro", {"dept": 3}, "did you mean 'depth'"),
        ("vit-micro", {"depth": "many"}, "option depth='many'"),
        ("swin-micro", {"depths": [2, 2, 2]}, "same stages"),
        ("timm:resnet81", {}, "timm has no model 'resnet81' .did you mean 'resnet18'"),
        ("timm:resnet18.a1_in2k", {}, "did you mean 'a1_in1k'"),
        ("timm:resnet18", {"pretrained": True}, r"name the weights with their tag; known: timm:resnet18\.a1_in1k"),
    ],
)
def test_unknown_names_and_options_are_refused(name, options, message):
    with pytest.raises(InputError, match=message):
        backbones.create(name, **options)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("vit-micro", {"patch": 3}, "no whole number of patches"),
        ("vit-micro", {"width": 50}, "vit-micro: timm refuses these options"),
        ("timm:resnet18", {"kwargs": {"wide": 1}}, "timm:resnet18: timm refuses these options.*wide"),
        ("timm:convnext_atto", {}, "cannot take images of 8 pixels"),
        ("timm:levit_128s", {"image_size": 224}, "no linear layer over pooled features"),
    ],
)
def test_what_cannot_be_built_is_said(name, options, message):
    with pytest.raises(InputError, match=message):
        backbones.create(name, **options).build(10, 3, 8)


def test_timm_models_are_probed_without_touching_the_seed(cifar):
    state = torch.get_rng_state()
    backbone = backbones.create("timm:vit_tiny_patch16_224", kwargs={"depth": 1})
    info = backbone.info(cifar)
    assert (info.num_features, info.has_cls_token, info.has_patch_tokens) == (192, True, True)
    assert torch.equal(state, torch.get_rng_state())
    assert backbone.spelled() == "timm:vit_tiny_patch16_224(kwargs={'depth': 1})"
    assert pickle.loads(pickle.dumps(backbone)).identity() == backbone.identity()


def test_pretrained_statistics_are_timms_own(cifar):
    config = backbones.create("timm:resnet18.a1_in1k", pretrained=True).data_config(cifar)
    assert (config.image_size, config.mean) == (224, (0.485, 0.456, 0.406))
    assert 0.8 < config.crop_fraction <= 1
    assert backbones.create("timm:resnet18").data_config(cifar).mean == cifar.mean


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """Weights of a three-channel ResNet for a thousand classes, as timm's own come."""
    torch.manual_seed(5)
    module = backbones.create("timm:resnet18").build(1000, 3, 32)
    folder = tmp_path_factory.mktemp("weights")
    state = {name: value.contiguous() for name, value in module.model.state_dict().items()}
    save_file(state, folder / "resnet18.safetensors")
    torch.save({"state_dict": state}, folder / "resnet18.pth")
    return folder, state


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet18.pth", *slowly("resnet18.safetensors")])
def test_a_local_checkpoint_is_loaded_and_adapted(checkpoint, name):
    folder, state = checkpoint
    backbone = backbones.create("timm:resnet18", checkpoint=str(folder / name))
    model = backbone.build(10, 1, 8).model
    assert torch.equal(model.layer1[0].conv1.weight, state["layer1.0.conv1.weight"])
    torch.testing.assert_close(model.conv1.weight, state["conv1.weight"].sum(1, keepdim=True))
    assert model.fc.out_features == 10


@pytest.mark.parametrize("name", ["test_vit", *slowly("resnet10t", "test_convnext")])
def test_a_classifier_of_as_many_classes_is_loaded_too(tmp_path, name):
    torch.manual_seed(1)
    source = timm.create_model(name, num_classes=10).eval()
    torch.save(source.state_dict(), tmp_path / "w.pth")
    build = backbones.create(f"timm:{name}", checkpoint=str(tmp_path / "w.pth")).build
    state = source.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in build(10, 3, 160).model.state_dict().items())
    classifier = source.default_cfg["classifier"] + ".weight"
    other = build(7, 3, 160).model.state_dict()
    assert len(other[classifier]) == 7
    assert all(torch.equal(value, state[key]) for key, value in other.items() if not key.startswith(classifier[:-7]))


@pytest.mark.slow
def test_the_content_of_a_checkpoint_is_its_identity(checkpoint, tmp_path):
    folder, _ = checkpoint
    source = folder / "resnet18.safetensors"
    copy = tmp_path / "other-name.safetensors"
    copy.write_bytes(source.read_bytes())
    first, second = (backbones.create("timm:resnet18", checkpoint=str(p)).identity() for p in (source, copy))
    assert first == second
    assert str(folder) not in str(first)
    with pytest.raises(InputError, match=r"checkpoint gone\.pth: No such file"):
        backbones.create("timm:resnet18", checkpoint="gone.pth").identity()


@pytest.mark.parametrize("option", ["checkpoint_path", "pretrained_cfg_overlay", "pretrained_cfg", "cache_dir"])
def test_weights_come_by_the_options_that_are_part_of_the_key(option):
    with pytest.raises(InputError, match=rf"kwargs\.{option}.*checkpoint=FILE"):
        backbones.create("timm:resnet18", kwargs={option: "w.pth"})


class Hostile:
    def __reduce__(self):
        return open, ("HACKED", "w")


@pytest.mark.parametrize("content", ["pickle", "bytes", "head alone", "another network"])
def test_a_hostile_damaged_or_foreign_checkpoint_is_refused(tmp_path, monkeypatch, content):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "x.pth"
    if content == "pickle":
        torch.save({"state_dict": Hostile()}, path)
    elif content == "bytes":
        path.write_bytes(b"no weights at all")
    elif content == "head alone":
        torch.save({"state_dict": {"fc.weight": torch.zeros(1000, 512), "fc.bias": torch.zeros(1000)}}, path)
    else:
        state = backbones.create("vit-micro").build(1000, 3, 32).model.state_dict()
        torch.save(state | {"fc.weight": torch.zeros(1000, 512), "fc.bias": torch.zeros(1000)}, path)
    with pytest.raises(InputError, match=r"checkpoint x\.pth"):
        backbones.create("timm:resnet18", checkpoint=str(path)).build(10, 3, 8)
    assert not (tmp_path / "HACKED").exists()


@pytest.mark.slow
def test_without_network_the_message_says_what_to_do(tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    backbone = backbones.create("timm:resnet18.a1_in1k", pretrained=True)
    with pytest.raises(InputError, match=r"cannot be fetched.*HF_HOME.*checkpoint=FILE.*pretrained=false"):
        backbone.build(10, 3, 8)
