"""Generalised ODIN: a confidence decomposed into class similarity and a learned divisor."""

from dataclasses import dataclass

from calbench.methods.base import BackboneInfo, Head, HeadModule, register
from calbench.methods.heads._similarity import Similarity, SimilarityModule


@register("godin", label="GODIN", paper="hsu2020godin")
@dataclass
class Godin(Head):
    """h / g with g = sigmoid(BatchNorm(w . f + b)) and h the similarity of the pooled feature f to a vector per class.

    Hsu et al. 2020, arXiv 2002.11297: DeConf-C (``cosine``), DeConf-E (minus the squared ``euclidean`` distance) and
    DeConf-I (``inner`` product). Public code takes the mean over the features where the paper has the sum of squares.
    Trained by cross-entropy; the backbone's own classifier is not used. The paper's out-of-distribution scores are g,
    which is ``learned-temperature`` here, and the largest h; the perturbation of the input that it tunes on
    in-distribution data is not made. With ``cosine`` the network is that of abet: the two papers differ in the score
    that they read from it. No default grid: each similarity is a method of the paper.
    """

    own_logits = True

    similarity: Similarity = "cosine"

    def build(self, backbone: BackboneInfo, num_classes: int) -> HeadModule:
        """Make the module for features of `backbone` and `num_classes` classes."""
        return SimilarityModule(backbone.num_features, num_classes, self.similarity, floor=0.0)
