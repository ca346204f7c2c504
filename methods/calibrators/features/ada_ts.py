"""Adaptive temperature scaling: a temperature from a conditional variational autoencoder of the features."""

from dataclasses import dataclass
from typing import Annotated, Any, Self, cast

from pydantic import Field
from torch import Tensor, nn
from torch.distributions import Laplace, Normal, kl_divergence
from torch.nn import functional

from calbench.methods.base import register
from calbench.methods.calibrators.features._base import FeatureCalibrator
from calbench.methods.solvers.network_fit import fit_network, seeded
from calbench.methods.solvers.newton import optimal_temperature

LEAST = 1e-3
"""The smallest temperature and standard deviation."""


@register("ada-ts", label="AdaTS", paper="joy2023sample")
@dataclass
class AdaptiveTS(FeatureCalibrator):
    """softmax(z / T(f)), T = softplus(m(log p(u | 1), ..., log p(u | K))), u ~ q(u | f), p(u | k) a Gaussian per class.

    q, p and a decoder p(f | u) are a variational autoencoder of the pooled features f whose prior depends on the class;
    m is a small network of the K log-densities. The loss is the negative evidence lower bound plus the cross-entropy of
    z / T, fitted together. The likelihood of f is Laplace with scale 1. Features are centred and scaled; T is in units
    of the optimal single temperature. A fifth of the rows is held out, where the weights with the lowest cross-entropy
    are kept.

    Joy et al. 2023, arXiv 2207.06211. The authors' code samples u at test time too, so that its predictions are random;
    here u is the mean of q after the fit. Its networks have 1,024 and 512 units, which a calibration split of some
    thousand features does not need: here they have 2 ``hidden`` and ``hidden``.
    """

    latent: Annotated[int, Field(ge=1)] = 16
    hidden: Annotated[int, Field(ge=1)] = 64
    steps: Annotated[int, Field(ge=1)] = 600
    learning_rate: Annotated[float, Field(gt=0)] = 2e-3
    batch_size: Annotated[int, Field(ge=1)] = 128
    seed: Annotated[int, Field(ge=0)] = 0

    keeps_accuracy = True
    tune_grid = (("latent", (4, 8, 16, 32)),)

    def fit(self, logits: Any, labels: Any, features: Any = None) -> Self:
        """Fit ``scale_`` and ``network_`` on logits (N, K), labels (N,) and pooled features (N, D)."""
        inputs, self.num_classes_ = self.fit_unit(features), logits.shape[1]
        self.scale_ = optimal_temperature(logits, labels)
        with seeded(self.seed, logits.device):
            network = self.build_module("network_").to(logits.device)

            def loss(rows: Tensor) -> Tensor:
                scores = (logits[rows] / self.scale_).float()
                bound, temperatures = network.bound_and_temperatures(inputs[rows], labels[rows])
                cost = functional.cross_entropy(scores / temperatures[:, None], labels[rows])
                return cost + bound if network.training else cost

            fit_network(
                network, loss, len(logits),
                steps=self.steps, learning_rate=self.learning_rate, batch_size=self.batch_size,
            )  # fmt: skip
        self.network_ = network
        return self

    def transform(self, logits: Any, features: Any = None) -> Any:
        """Logits over the temperature of each sample (N, K), from the features (N, D) of the same samples."""
        temperatures = self.network_(self.in_unit(features)).to(logits.dtype) * self.scale_
        return logits / temperatures[:, None]

    def build_module(self, name: str) -> "ConditionalAutoencoder":
        """Build the untrained networks, with a temperature near 1 (times ``scale_``)."""
        return ConditionalAutoencoder(self.num_features_, self.num_classes_, self.latent, self.hidden)


class ConditionalAutoencoder(nn.Module):
    """A variational autoencoder of features with a Gaussian prior per class, and a temperature from its densities.

    Args:
        width: of the features, D.
        num_classes: K.
        latent: dimensions of u.
        hidden: units of the smaller layers.
    """

    def __init__(self, width: int, num_classes: int, latent: int, hidden: int) -> None:
        super().__init__()
        self.encoder = _layers(width, 2 * hidden, hidden, 2 * latent)
        self.decoder = _layers(latent, hidden, 2 * hidden, width)
        self.prior = nn.Embedding(num_classes, 2 * latent)
        self.head = _layers(num_classes, hidden, hidden, 1)
        nn.init.zeros_(cast("Tensor", self.head[-1].weight))
        nn.init.constant_(cast("Tensor", self.head[-1].bias), 0.541324855)  # softplus of it is 1

    def forward(self, features: Tensor) -> Tensor:
        """The temperatures (N,) of features (N, D), at the mean of q."""
        return self._temperatures(_gaussian(self.encoder(features)).mean)

    def bound_and_temperatures(self, features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """The negative evidence lower bound (mean) and temperatures (N,); u is sampled in training only."""
        code = _gaussian(self.encoder(features))
        point = code.rsample() if self.training else code.mean
        fit = Laplace(self.decoder(point), 1.0).log_prob(features).sum(dim=1)
        surplus = kl_divergence(code, _gaussian(self.prior(labels))).sum(dim=1)
        return (surplus - fit).mean(), self._temperatures(point)

    def _temperatures(self, point: Tensor) -> Tensor:
        classes = _gaussian(self.prior.weight)
        densities = classes.log_prob(point[:, None, :]).sum(dim=2)
        # Per dimension, so that the network's inputs are of the order 1 whatever `latent`.
        return functional.softplus(self.head(densities / point.shape[1])).squeeze(1).clamp_min(LEAST)


def _gaussian(parameters: Tensor) -> Normal:
    """Gaussians (N, J) of means and unconstrained deviations (N, 2 J)."""
    mean, deviation = parameters.chunk(2, dim=-1)
    deviation = functional.softplus(deviation).clamp_min(LEAST)
    return Normal(mean, deviation, validate_args=False)  # the check reads values, which cannot be recorded for export


def _layers(first: int, second: int, third: int, last: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(first, second), nn.ELU(), nn.Linear(second, third), nn.ELU(), nn.Linear(third, last))
