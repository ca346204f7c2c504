import math

import pytest
import torch

from calbench.benchmark.backbones import DataConfig
from calbench.benchmark.backbones.attention import attention_blocks, attention_scores, query_temperature
from calbench.benchmark.config.backbone import make_backbone
from calbench.benchmark.core.errors import InputError
from calbench.benchmark.variants import Draw, registry
from calbench.benchmark.variants._null import null_images
from calbench.benchmark.variants.attention_regularised import kept_scores
from calbench.benchmark.variants.test_time_augmentation import shifted_and_mirrored
from calbench.datasets import registry as datasets

DIGITS = datasets.create("digits")
CONFIG = DataConfig(8, (0.0,), (1.0,))
TRANSFORMERS = ["vit-micro", "deit-micro", "swin-micro"]


class Net(torch.nn.Module):
    def __init__(self, spec):
        super().__init__()
        torch.manual_seed(0)
        self.backbone = make_backbone(spec).build(10, 1, 8)
        for module in self.backbone.modules():  # a jax-like start has a classifier of zeros, and faint attention
            if isinstance(module, torch.nn.Linear):
                torch.nn.init.normal_(module.weight, std=0.3)
        self.eval()

    def forward(self, images):
        return self.backbone(images)


def images(count=6, size=8):
    return torch.randn(count, 1, size, size, generator=torch.Generator().manual_seed(1))


def plain(network):
    with torch.no_grad():
        return network(images()).logits


def outputs(network, variant, batch=None, draw=None):
    variant.prepare(network, CONFIG)
    forward = variant.wrap(lambda x, draw: network(x), network, variant.config(CONFIG), DIGITS)
    with torch.no_grad():
        return forward(images() if batch is None else batch, draw or Draw(0, "test")).logits


def eager_with_divided_scale(network, temperature):
    """Attention as the formula has it: no fused kernel, the scale of every block divided by T."""
    for block in attention_blocks(network).values():
        block.fused_attn = False
        block.scale = block.scale / temperature
    return plain(network)


@pytest.mark.parametrize("spec", ["vit-micro", "deit-micro"])
@pytest.mark.parametrize("temperature", [0.5, 0.7, 1.3, 2.0])
def test_divided_queries_with_fused_attention_equal_a_divided_scale(spec, temperature):
    """The output of a block's attention to 3e-7; logits to what fused and eager attention differ by at T = 1, or so."""
    tokens = torch.randn(4, 5, 48, generator=torch.Generator().manual_seed(2))
    torch.manual_seed(0)
    network = make_backbone(spec).build(10, 1, 8).eval()
    block = next(iter(attention_blocks(network).values()))
    assert block.fused_attn
    with torch.no_grad():
        before = block(tokens)
        with query_temperature(network, temperature):
            after = block(tokens)
        block.fused_attn, block.scale = False, block.scale / temperature
        expected = block(tokens)
    assert (after - expected).abs().max() < 3e-7 * expected.abs().max()
    assert (after - before).abs().max() > 1e-4
    network = Net(spec)
    logits = outputs(network, registry.create("attention-temperature", temperature=temperature))
    assert (logits - eager_with_divided_scale(network, temperature)).abs().max() < 2e-5


@pytest.mark.parametrize("temperature", [0.5, 2.0, 8.0])
def test_on_swin_it_is_exact_and_the_position_bias_is_not_divided(temperature):
    network = Net("swin-micro")
    logits = outputs(network, registry.create("attention-temperature", temperature=temperature))
    assert torch.equal(logits, eager_with_divided_scale(network, temperature))


@pytest.mark.parametrize("spec", TRANSFORMERS)
def test_a_temperature_of_one_changes_no_bit(spec):
    network = Net(spec)
    expected = plain(network)
    assert torch.equal(outputs(network, registry.create("attention-temperature", temperature=1)), expected)


def test_normalised_queries_are_divided_after_their_norm():
    network = Net("timm:vit_tiny_patch16_224(kwargs={depth: 1, img_size: 8, patch_size: 4, qk_norm: true})")
    hot = outputs(network, registry.create("attention-temperature", temperature=1.5))
    torch.testing.assert_close(hot, eager_with_divided_scale(network, 1.5), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("spec", ["vit-micro", "swin-micro"])
def test_seen_scores_are_those_of_the_pass_and_replaced_ones_are_used(spec):
    network, rows = Net(spec), {}
    expected = plain(network)
    with attention_scores(network, lambda name, scores: rows.__setitem__(name, scores)):
        seen = plain(network)
    with attention_scores(network, lambda name, scores: torch.full_like(scores, 1 / scores.shape[-1])):
        even = plain(network)
    with query_temperature(network, 1e6):  # scores of nothing but the position bias
        hot = plain(network)
    torch.testing.assert_close(seen, expected, rtol=1e-5, atol=1e-5)
    assert set(rows) == set(attention_blocks(network))
    assert all((scores.sum(-1) - 1).abs().max() < 1e-5 for scores in rows.values())
    if spec == "vit-micro":
        torch.testing.assert_close(even, hot, rtol=1e-4, atol=1e-4)
    assert (even - expected).abs().max() > 1e-3
    assert not any(block.attn_drop._forward_hooks for block in attention_blocks(network).values())


@pytest.mark.parametrize("spec", [*TRANSFORMERS, "timm:resnet18"])
@pytest.mark.filterwarnings(
    "ignore:torch.searchsorted:UserWarning", "ignore:Using a non-tuple sequence:UserWarning"
)  # timm
def test_resolution_interpolates_and_the_same_size_changes_nothing(spec):
    network = Net(spec)
    expected = plain(network)
    assert torch.equal(outputs(network, registry.create("resolution", size=8)), expected)
    variant = registry.create("resolution", size=16)
    assert variant.config(CONFIG).image_size == 16
    assert outputs(Net(spec), variant, images(size=16)).shape == (6, 10)


def test_shifted_images_are_crops_of_the_padded_ones_and_some_are_mirrored():
    batch, black = torch.rand(64, 2, 5, 5), torch.tensor([-1.0, -2.0])
    moved = shifted_and_mirrored(batch, black, 2, True, torch.Generator().manual_seed(0))
    padded = torch.stack([torch.nn.functional.pad(batch[:, c], (2,) * 4, value=float(black[c])) for c in (0, 1)], 1)
    mirrored = 0
    for image, wide in zip(moved, padded, strict=True):
        crops = [(wide[:, r : r + 5, c : c + 5], f) for r in range(5) for c in range(5) for f in (False, True)]
        hits = [f for crop, f in crops if torch.allclose(image, crop.flip(-1) if f else crop, atol=1e-6)]
        assert len(hits) == 1
        mirrored += hits[0]
    assert 15 < mirrored < 50
    still = shifted_and_mirrored(batch, black, 0, False, torch.Generator())
    torch.testing.assert_close(still, batch)


def test_the_first_version_is_the_image_and_the_others_are_seeded():
    network = Net("vit-micro")
    variant = registry.create("test-time-augmentation", n=3, padding=1)
    assert torch.equal(outputs(network, variant), plain(network))
    first, again, other = (outputs(network, variant, draw=Draw(0, "test", p)) for p in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    with pytest.raises(InputError, match="padding=1"):
        registry.create("test-time-augmentation").check(make_backbone("vit-micro").info(DIGITS), DIGITS)


def test_dropout_is_on_in_the_passes_only_and_seeded():
    network = Net("vit-micro")
    with pytest.raises(InputError, match=r"rate=0\.1"):
        registry.create("mc-dropout").prepare(network, CONFIG)
    state = torch.get_rng_state()
    variant = registry.create("mc-dropout", rate=0.2)
    first, again, other = (outputs(network, variant, draw=Draw(0, "test", p)) for p in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), state)
    assert not any(module.training for module in network.modules())
    with pytest.raises(InputError, match="no dropout"):
        registry.create("mc-dropout").prepare(torch.nn.Linear(2, 2), CONFIG)


@pytest.mark.parametrize("null", ["pixel", "patch", "noise"])
def test_null_images_keep_the_statistics_and_lose_the_structure(null):
    batch = torch.arange(64.0).view(1, 1, 8, 8).repeat(500, 2, 1, 1)
    drawn = null_images(batch, null, (4, 4), torch.Generator().manual_seed(0))
    assert drawn.shape == batch.shape
    assert drawn.mean().item() == pytest.approx(31.5, abs=0.5)
    assert drawn.std().item() == pytest.approx(batch.std().item(), rel=0.03)
    if null == "pixel":
        assert set(drawn.unique().tolist()) == set(range(64))
        assert torch.equal(drawn[:, 0], drawn[:, 1])
    if null == "patch":
        tiles = {tuple(batch[0, 0, r : r + 4, c : c + 4].flatten().tolist()) for r in (0, 4) for c in (0, 4)}
        assert {tuple(drawn[i, 0, :4, 4:].flatten().tolist()) for i in range(100)} == tiles


def test_insignificant_scores_are_dropped_and_empty_rows_stay():
    scores = torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8]])
    kept = kept_scores(scores, torch.tensor([[True, False, True], [False, False, False]]))
    torch.testing.assert_close(kept, torch.tensor([[5 / 7, 0, 2 / 7], [0.1, 0.1, 0.8]]))


def test_of_pure_noise_a_share_alpha_of_the_scores_is_kept(monkeypatch):
    """The first block's scores of noise images are exchangeable with those of their nulls."""
    from calbench.benchmark.variants import attention_regularised as module

    shares = []

    def record(scores, significant):
        shares.append(significant.float().mean().item())
        return kept_scores(scores, significant)

    monkeypatch.setattr(module, "kept_scores", record)
    variant = registry.create("attention-regularised", null="noise", alpha=0.2)
    batch = images(150)
    batch = (batch - batch.mean((2, 3), keepdim=True)) / batch.std((2, 3), correction=0, keepdim=True)
    network = Net("vit-micro")
    logits = outputs(network, variant, batch)
    assert shares[0] == pytest.approx(math.floor(0.2 * 21) / 21, abs=0.025)
    with torch.no_grad():
        assert (logits - network(batch).logits).abs().max() > 1e-3
    assert torch.equal(logits, outputs(network, variant, batch))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "temperature=T"),
        ({"temperature": 1.0, "grid": [1.0, 2.0]}, "temperature=T"),
        ({"grid": [1.0, 1.0]}, "twice"),
        ({"temperature": 0}, "temperature"),
    ],
)
def test_a_temperature_is_one_or_a_grid(options, message):
    with pytest.raises(InputError, match=message):
        registry.create("attention-temperature", **options)


def test_too_few_draws_for_the_level_are_refused_with_the_number_needed():
    with pytest.raises(InputError, match="draws=99"):
        registry.create("attention-regularised", alpha=0.01)
    assert registry.create("attention-regularised", alpha=0.01, draws=99).kept == 1
    assert registry.create("attention-regularised").kept == 1


@pytest.mark.parametrize("name", ["attention-temperature", "attention-regularised"])
def test_a_cnn_is_refused(name):
    options = {"temperature": 2.0} if name == "attention-temperature" else {}
    with pytest.raises(InputError, match="resnet18 has none"):
        registry.create(name, **options).check(make_backbone("timm:resnet18").info(DIGITS), DIGITS)
