"""Ensemble of seeds: the mean of the probabilities of cells that differ by their seed only."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from calbench.benchmark.variants._base import Variant, register


@register("ensemble", label="Ensemble", paper="lakshminarayanan2017ensembles")
@dataclass
class Ensemble(Variant):
    """The mean of the probabilities of the cells of several seeds; nothing is trained or predicted for it.

    Calibrators before it act on each member (``temperature-scaling + ensemble``), those behind it on the pooled
    probabilities (``ensemble + temperature-scaling``). The latter needs one calibration split that no member was
    trained on: set ``protocol.calibration_seed``. The row of each seed is the ensemble of `members` seeds of the suite
    from this one on, in a circle; these ensembles share members, so their spread over seeds does not measure random
    variation. Without `members` all seeds are pooled, and the rows of all seeds are the same.

    Args:
        members: seeds in each ensemble; all of the suite's if it is not set.

    Lakshminarayanan et al. 2017, arXiv 1612.01474.
    """

    members: Annotated[int, Field(ge=2)] | None = None

    pools = True
