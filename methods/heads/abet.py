"""AbeT: cosine logits over a learned temperature, for out-of-distribution detection."""

from dataclasses import dataclass

from calbench.methods.base import BackboneInfo, Head, HeadModule, register
from calbench.methods.heads._similarity import SimilarityModule


@register("abet", label="AbeT", paper="levine2024abet")
@dataclass
class AbeT(Head):
    """g / T with g_c = f . w_c / (|f| |w_c|) and T = sigmoid(BatchNorm(w . f + b)) + 1e-12, by cross-entropy.

    LeVine et al. 2024, arXiv 2401.12129, checked against the authors' code, which adds 1e-4 to the two norms. f is the
    pooled feature; the cosines have no bias, and the backbone's own classifier is not used. The paper's
    out-of-distribution score is -logsumexp(g / T), which is ``energy`` of these logits: the factor T in front of it is
    left out ("ablated"). With it the score is ``energy-forefront``, and T itself is ``learned-temperature``. The paper
    does not report calibration.
    """

    own_logits = True

    def build(self, backbone: BackboneInfo, num_classes: int) -> HeadModule:
        """Make the module for features of `backbone` and `num_classes` classes."""
        return SimilarityModule(backbone.num_features, num_classes, "cosine", floor=1e-12)
