import math

import pytest
import timm
import torch
from fast_set import slowly
from torch.nn.functional import cross_entropy

from calbench.benchmark.core.errors import InputError
from calbench.methods import BackboneInfo, Outputs, Representation, registry

HEADS = [n for n in registry if registry[n].kind == "head" and registry[n].__module__.startswith("calbench.")]
DIVIDING = [name for name in HEADS if not registry[name].own_logits]
VIT = BackboneInfo("vit-micro", 16, has_cls_token=True, has_patch_tokens=True)
SWIN = BackboneInfo("swin-micro", 16, has_cls_token=False, has_patch_tokens=True)
CNN = BackboneInfo("resnet-micro", 16, has_cls_token=False, has_patch_tokens=False)
BACKBONES = pytest.mark.parametrize("backbone", [VIT, SWIN, CNN], ids=lambda info: info.name)
N, K = 8, 5


def representation_of(backbone, dtype=torch.float32):
    generator = torch.Generator().manual_seed(2)

    def draw(*shape):
        return torch.randn(*shape, generator=generator).to(dtype).requires_grad_()

    return Representation(
        draw(N, K),
        draw(N, backbone.num_features),
        draw(N, backbone.num_features) if backbone.has_cls_token else None,
        draw(N, 9, backbone.num_features) if backbone.has_patch_tokens else None,
    )


def built(name, backbone, **options):
    torch.manual_seed(0)
    head = registry.create(name, **options)
    head.check(backbone)
    return head.build(backbone, K)


@BACKBONES
@pytest.mark.parametrize("name", DIVIDING)
def test_logits_are_divided_by_a_positive_temperature(name, backbone):
    module, representation = built(name, backbone), representation_of(backbone)
    logits, temperature = module(representation)
    assert logits.shape == (N, K)
    assert temperature.shape == (N,)
    assert (temperature > 0).all()
    torch.testing.assert_close(logits, representation.logits / temperature[:, None])
    assert torch.equal(logits.argmax(dim=1), representation.logits.argmax(dim=1))


@BACKBONES
@pytest.mark.parametrize("name", HEADS)
def test_gradients_reach_head_and_backbone(name, backbone):
    head, module, representation = registry.create(name), built(name, backbone), representation_of(backbone)
    logits, temperature = module(representation)
    outputs = Outputs(logits, representation.logits, temperature, representation.features)
    head.default_objective().loss(outputs, torch.arange(N) % K).backward()
    for parameter_name, parameter in module.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.isfinite().all(), parameter_name
        assert parameter.grad.abs().sum() > 0, parameter_name
    read = representation.features if head.own_logits else representation.logits
    assert read.grad.abs().sum() > 0
    assert (representation.logits.grad is None) == head.own_logits


@pytest.mark.parametrize("name", HEADS)
def test_seed_decides_and_evaluation_is_deterministic(name):
    representation = representation_of(VIT)
    first, again = built(name, VIT), built(name, VIT)
    for a, b in zip(first.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)
    first.eval()
    assert torch.equal(first(representation)[1], first(representation)[1])


@pytest.mark.parametrize("name", HEADS)
def test_temperature_has_full_precision_under_autocast(name):
    module = built(name, VIT).eval()
    half = representation_of(VIT, torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits, temperature = module(half)
    assert logits.dtype == temperature.dtype == torch.float32
    full = representation_of(VIT)
    for field in ("logits", "features", "cls_token", "patch_tokens"):
        setattr(full, field, getattr(half, field).float())
    torch.testing.assert_close(temperature, module(full)[1], rtol=1e-6, atol=0)


@pytest.mark.parametrize("name", HEADS)
def test_large_representations_stay_finite(name):
    module = built(name, VIT)
    for scale in (1e4, -1e4):
        wild = Representation(*(scale * torch.ones(shape) for shape in ((N, K), (N, 16), (N, 16), (N, 9, 16))))
        logits, temperature = module(wild)
        assert (temperature > 0).all()
        assert temperature.isfinite().all()
        assert logits.isfinite().all()


# CalAttn


def test_calattn_is_its_formula():
    module, representation = built("calattn", VIT, hidden=7).double(), representation_of(VIT, torch.float64)
    w1, b1, w2, b2 = (p.detach() for p in module.parameters())
    hidden = representation.cls_token @ w1.T + b1
    hidden = hidden * (1 + torch.erf(hidden / math.sqrt(2))) / 2
    expected = torch.log1p(torch.exp(hidden @ w2[0] + b2)) + 1e-6
    torch.testing.assert_close(module(representation)[1], expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("tokens", ["cls", "patch-mean", "concat"])
def test_calattn_reads_the_tokens_asked_for(tokens):
    module, representation = built("calattn", VIT, tokens=tokens), representation_of(VIT)
    module(representation)[1].sum().backward()
    assert (representation.cls_token.grad is not None) == (tokens != "patch-mean")
    assert (representation.patch_tokens.grad is not None) == (tokens != "cls")
    assert representation.features.grad is None


@pytest.mark.parametrize("backbone", [SWIN, CNN], ids=lambda info: info.name)
def test_calattn_without_cls_reads_the_pooled_feature_and_says_so(backbone):
    head, representation = registry.create("calattn"), representation_of(backbone)
    built("calattn", backbone)(representation)[1].sum().backward()
    assert representation.features.grad.abs().sum() > 0
    assert head.note(backbone) == f"calattn reads the pooled feature of {backbone.name}, which has no [CLS] token"
    assert head.note(VIT) is None


def test_calattn_patch_mean_needs_no_cls():
    head, representation = registry.create("calattn", tokens="patch-mean"), representation_of(SWIN)
    built("calattn", SWIN, tokens="patch-mean")(representation)[1].sum().backward()
    assert representation.patch_tokens.grad.abs().sum() > 0
    assert head.note(SWIN) is None


@pytest.mark.parametrize(
    ("tokens", "backbone", "reason"),
    [
        ("concat", SWIN, "tokens=concat on swin-micro: the backbone has no .CLS. token"),
        ("concat", CNN, "tokens=concat on resnet-micro: the backbone has no .CLS. token"),
        ("patch-mean", CNN, "tokens=patch-mean on resnet-micro: the backbone gives no patch tokens"),
    ],
)
def test_calattn_refuses_tokens_that_are_not_there(tokens, backbone, reason):
    with pytest.raises(InputError, match=reason):
        registry.create("calattn", tokens=tokens).check(backbone)


def test_calattn_default_objective_is_the_papers():
    objective = registry.create("calattn").default_objective()
    assert objective.spelled() == "cross-entropy-brier"
    assert objective.weight == 0.1


def test_calattn_stop_gradient_stops_only_the_temperatures_path():
    labels = torch.arange(N) % K
    gradients = {}
    for stop in (False, True):
        module, representation = built("calattn", VIT, stop_gradient=stop), representation_of(VIT)
        logits, _ = module(representation)
        cross_entropy(logits, labels).backward()
        gradients[stop] = (
            representation.logits.grad,
            representation.cls_token.grad,
            torch.cat([p.grad.flatten() for p in module.parameters()]),
        )
    assert gradients[False][1].abs().sum() > 0
    assert gradients[True][1] is None, "nothing flows back through h"
    assert torch.equal(gradients[False][0], gradients[True][0]), "the classifier's path is untouched"
    assert torch.equal(gradients[False][2], gradients[True][2]), "the MLP trains alike"


@pytest.mark.parametrize(
    ("model", "percent"),
    [
        ("deit_small_patch16_224", 0.228),
        *slowly(("vit_base_patch16_224", 0.115), ("swin_small_patch4_window7_224", 0.201)),
    ],
)
def test_calattn_share_of_extra_parameters(model, percent):
    with torch.device("meta"):
        backbone = timm.create_model(model, num_classes=100)
        info = BackboneInfo(model, backbone.num_features, has_cls_token=True, has_patch_tokens=True)
        extra = {hidden: count(registry.create("calattn", hidden=hidden).build(info, 100)) for hidden in (32, 128)}
    width = backbone.num_features
    assert extra[128] == 128 * (width + 1) + 128 + 1
    assert round(100 * extra[128] / count(backbone), 3) == percent
    assert 100 * extra[32] / count(backbone) < 0.1, "the paper's figure needs a smaller hidden layer"


def count(module):
    return sum(p.numel() for p in module.parameters())


def test_calattn_beats_one_temperature_where_noise_depends_on_the_representation():
    generator = torch.Generator().manual_seed(0)
    noisy = torch.rand(2000, generator=generator) < 0.5
    labels = torch.randint(K, (2000,), generator=generator)
    shown = torch.where(noisy, torch.randint(K, (2000,), generator=generator), labels)
    logits = 4 * torch.eye(K)[shown]
    token = torch.where(noisy, 1.0, -1.0)[:, None] * torch.ones(16)
    module = built("calattn", VIT, hidden=16)
    optimizer = torch.optim.Adam(module.parameters(), lr=0.02)
    for _ in range(150):
        optimizer.zero_grad()
        scaled, temperature = module(Representation(logits, token, token))
        loss = cross_entropy(scaled, labels)
        loss.backward()
        optimizer.step()
    best_single = min(cross_entropy(logits / t, labels).item() for t in torch.linspace(0.2, 20, 200))
    assert loss.item() < best_single - 0.1
    assert temperature[noisy].mean() > 3 * temperature[~noisy].mean()


# Relaxed softmax


def test_relaxed_softmax_starts_as_the_plain_classifier():
    representation = representation_of(VIT)
    logits, temperature = built("relaxed-softmax", VIT)(representation)
    torch.testing.assert_close(temperature, torch.ones(N), rtol=0, atol=2e-6)
    torch.testing.assert_close(logits, representation.logits, rtol=1e-5, atol=0)


def test_relaxed_softmax_multiplies_by_softplus():
    module, representation = built("relaxed-softmax", VIT).double(), representation_of(VIT, torch.float64)
    torch.nn.init.normal_(module.temperature.linear.weight)
    weight, bias = (p.detach() for p in module.parameters())
    alpha = torch.log1p(torch.exp(representation.features @ weight[0] + bias)) + 1e-6
    logits, temperature = module(representation)
    torch.testing.assert_close(logits, representation.logits * alpha[:, None], rtol=1e-12, atol=0)
    torch.testing.assert_close(temperature, 1 / alpha, rtol=1e-12, atol=0)
    assert registry.create("relaxed-softmax").default_objective().spelled() == "cross-entropy"


# TempNet


def test_tempnet_temperature_stays_between_its_bounds():
    module = built("tempnet", VIT, tau_min=0.7, tau_max=1.3)
    torch.nn.init.constant_(module.temperature.pool.bias, 50)
    high = module(representation_of(VIT))[1]
    torch.nn.init.constant_(module.temperature.pool.bias, -50)
    low = module(representation_of(VIT))[1]
    torch.testing.assert_close(high, torch.full((N,), 1.3))
    torch.testing.assert_close(low, torch.full((N,), 0.7))


def test_tempnet_reads_the_direction_of_the_logits_without_a_gradient():
    module, representation = built("tempnet", VIT).eval(), representation_of(VIT)
    temperature = module(representation)[1]
    temperature.sum().backward()
    assert representation.logits.grad is None
    longer = Representation(7 * representation.logits.detach(), representation.features)
    torch.testing.assert_close(module(longer)[1], temperature)


def test_tempnet_objective_has_the_heads_radius():
    head = registry.create("tempnet", rho=1.2)
    assert head.default_objective().spelled() == "tempnet-dro(rho=1.2)"
    assert registry.create("tempnet").default_objective().spelled() == "tempnet-dro"


@pytest.mark.parametrize(
    ("name", "options", "reason"),
    [
        ("calattn", {"hidden": 0}, "hidden"),
        ("calattn", {"tokens": "class"}, "tokens"),
        ("calattn", {"token": "cls"}, "did you mean 'tokens'"),
        ("tempnet", {"tau_min": 0}, "tau_min"),
        ("tempnet", {"tau_min": 2, "tau_max": 1}, "tau_min=2.0 is not below tau_max=1.0"),
        ("tempnet", {"dropout": 1}, "dropout"),
        ("relaxed-softmax", {"hidden": 1}, "hidden"),
    ],
)
def test_bad_options_are_refused(name, options, reason):
    with pytest.raises(InputError, match=reason):
        registry.create(name, **options)
