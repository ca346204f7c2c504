import copy

import pytest
import torch
from torch.nn import functional

from calbench.benchmark import backbones
from calbench.benchmark.backbones import modifiers
from calbench.benchmark.backbones.attention import attention_blocks
from calbench.benchmark.config.backbone import make_backbone
from calbench.benchmark.config.suite import load_suite
from calbench.benchmark.core.errors import InputError
from calbench.benchmark.execution.runner import RunOptions, plan_suite
from calbench.datasets import registry as datasets

NETWORKS = ["vit-micro", "deit-micro", "swin-micro"]


@pytest.fixture(params=list(modifiers.registry))
def name(request):
    return request.param


def build(spec):
    torch.manual_seed(0)
    return make_backbone(spec).build(10, 1, 8).eval()


def images(count=5):
    return torch.randn(count, 1, 8, 8, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("network", NETWORKS)
def test_shape_identity_at_the_start_gradients_and_parameters_added(name, network):
    plain, modified = build(network), build(f"{network} * {name}")
    with torch.no_grad():
        expected, logits = plain(images()).logits, modified(images()).logits
    assert logits.shape == (5, 10)
    if modifiers.registry[name].identity_at_start:
        torch.testing.assert_close(logits, expected, rtol=0, atol=1e-6)
    before, after = (sum(p.numel() for p in net.parameters()) for net in (plain, modified))
    assert before < after < 1.02 * before
    modified.train()
    for head in modified.modules():  # a classifier that starts at zero passes no gradient on
        if isinstance(head, torch.nn.Linear) and head.out_features == 10:
            torch.nn.init.normal_(head.weight)
    functional.cross_entropy(modified(images()).logits, torch.arange(5)).backward()
    shared = {id(p) for p in plain.parameters()}
    added = [p for p in modified.parameters() if id(p) not in shared and p.ndim <= 1]
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in modified.parameters())
    assert any(p.grad.abs().max() > 0 for p in added)


def test_below_half_a_per_cent_of_a_vit_s(name):
    with torch.device("meta"):
        plain = make_backbone("vit-s4-32(depth=2)").build(10, 3, 32)
        before = sum(p.numel() for p in plain.parameters())
    torch.manual_seed(0)
    modified = make_backbone(f"vit-s4-32(depth=2) * {name}").build(10, 3, 32)
    assert sum(p.numel() for p in modified.parameters()) < 1.005 * before


def test_a_modifier_draws_no_random_number(name):
    build("vit-micro")
    state = torch.get_rng_state()
    build(f"vit-micro * {name}")
    assert torch.equal(torch.get_rng_state(), state)


def test_a_cnn_is_refused_with_the_reason(name):
    backbone = make_backbone(f"timm:resnet18 * {name}")
    with pytest.raises(InputError, match=rf"{name} acts inside attention, and timm:resnet18 has none"):
        backbone.info(datasets.create("digits"))


def test_copies_and_saved_states_agree(name):
    first = build(f"vit-micro * {name}").train()
    first(images())  # a power iteration
    second = build(f"vit-micro * {name}")
    second.load_state_dict(first.state_dict())
    third = copy.deepcopy(first).eval()
    with torch.no_grad():
        expected = first.eval()(images()).logits
        assert torch.equal(second(images()).logits, expected)
        assert torch.equal(third(images()).logits, expected)


def test_ssa_scales_queries_and_values_of_each_token_by_the_formula():
    network = build("vit-micro(depth=1) * ssa")
    (block,) = attention_blocks(network).values()
    with torch.no_grad():
        for parameter in (block.qkv.query, block.qkv.value, block.qkv.query_bias):
            parameter.normal_(generator=torch.Generator().manual_seed(2))
        x = torch.randn(2, 5, 48, generator=torch.Generator().manual_seed(3))
        q, k, v = (x.double() @ block.qkv.linear.weight.double().T + block.qkv.linear.bias.double()).chunk(3, -1)
        by_formula = [
            block.qkv.query_bias.double().exp() * (1 + torch.tanh((x * block.qkv.query).sum(-1, keepdim=True))) * q,
            k,
            (1 + torch.tanh((x * block.qkv.value).sum(-1, keepdim=True))) * v,
        ]
        torch.testing.assert_close(block.qkv(x).double(), torch.cat(by_formula, -1), rtol=1e-4, atol=1e-5)


def test_sigma_reparam_makes_gamma_the_spectral_norm():
    network = build("vit-micro * sigma-reparam").train()
    for _ in range(60):
        network(images())
    for block in attention_blocks(network.eval()).values():
        gamma = block.qkv.parametrizations.weight[0].gamma
        assert torch.linalg.matrix_norm(block.qkv.weight, 2).item() == pytest.approx(gamma.item(), rel=1e-2)
    with torch.no_grad():
        block.qkv.parametrizations.weight[0].gamma.fill_(0.5)
    assert torch.linalg.matrix_norm(block.qkv.weight, 2).item() == pytest.approx(0.5, rel=1e-2)


def test_sigma_reparam_without_norms_has_none_inside_the_blocks():
    norms = [
        m for m in build("vit-micro * sigma-reparam(keep_norms=false)").modules() if isinstance(m, torch.nn.LayerNorm)
    ]
    assert len(norms) == 1  # the final one
    assert len([m for m in build("vit-micro * sigma-reparam").modules() if isinstance(m, torch.nn.LayerNorm)]) == 5


@pytest.mark.slow
def test_keys_tables_and_overrides(tiny, run, statuses, tmp_path):
    terms = "vit-micro(depth=1, width=16, heads=2) * ssa * sigma-reparam", "vit-micro(width=8, heads=2)"
    settings = [f"backbones={list(terms)}"]
    suite = load_suite(tiny, settings=[*settings, "overrides=[{backbone: vit-micro, training: {epochs: 1}}]"])
    plan = plan_suite(suite, RunOptions())
    assert len({work.cell.key for work in plan}) == len(plan)
    assert {work.cell.training.epochs for work in plan} == {1}
    results = run(tiny, settings=settings, entries=["cross-entropy"])
    assert statuses(results) == ["done", "done"]
    assert set(results.table.backbone) == set(terms)


@pytest.mark.parametrize(
    ("term", "message"),
    [
        ("vit-micro * sssa", "ssa"),
        ("vit-micro * ssa(query=false, value=false)", "nothing is modified"),
        ("vit-micro * ssa(rate=1)", "rate"),
        ("ssa", "backbone"),
    ],
)
def test_what_is_wrong_is_said(term, message):
    with pytest.raises(InputError, match=message):
        make_backbone(term)


def test_every_backbone_parses_as_before():
    for spec in ("vit-micro", "vit-micro(depth=1)", {"vit-micro": {"depth": 1}}):
        assert type(make_backbone(spec)) is backbones.registry["vit-micro"]


PLUGIN = """\
import torch
from calbench.benchmark.backbones.modifiers import Modifier, register

@register("output-gain", label="Gain")
class OutputGain(Modifier):
    \"\"\"A learned factor of what every block's attention adds, 1 at the start.\"\"\"
    identity_at_start = True

    def apply(self, network):
        for module in list(network.modules()):
            if hasattr(module, "qkv"):
                module.proj = torch.nn.Sequential(module.proj, Gain(module.proj.out_features))

class Gain(torch.nn.Module):
    def __init__(self, width):
        super().__init__()
        self.factor = torch.nn.Parameter(torch.ones(width))

    def forward(self, values):
        return values * self.factor
"""


@pytest.mark.slow
def test_a_modifier_of_a_plugin_is_trained_and_shown(tiny, calbench, tmp_path):
    (tmp_path / "gain.py").write_text(PLUGIN)
    backbones = "backbones=['vit-micro(depth=1, width=16, heads=2) * output-gain']"
    options = ["--plugin", "gain.py", "--set", backbones, "--entry", "cross-entropy", "--jobs", 1]
    status, output, messages = calbench("run", tiny, *options)
    assert status == 0, messages
    assert "* output-gain" in output + messages
    assert "Compared" not in output  # the baseline on its own
    images_ = images()
    torch.testing.assert_close(build("vit-micro * output-gain")(images_).logits, build("vit-micro")(images_).logits)
