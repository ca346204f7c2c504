"""A calibrator is fitted once for a cell, however many of the cell's splits are evaluated with it."""

from calbench.benchmark.evaluation import chains

SHIFT = "shift={corruptions: [gaussian-noise, contrast], severities: [1, 5]}"


def test_shifted_splits_are_evaluated_with_the_calibrators_of_the_test_split(tinier, run, monkeypatch):
    fitted, original = [], chains.fit_with_warnings

    def counted(chain, part):
        fitted.append([calibrator.spec.name for calibrator in chain])
        return original(chain, part)

    monkeypatch.setattr(chains, "fit_with_warnings", counted)
    results = run(tinier, settings=[SHIFT])
    assert {cell["status"] for cell in results.run["cells"]} == {"done"}
    assert results.table.split.nunique() == 1 + 4 + 3  # the test split, the shifted ones, their means by severity
    assert [chain for chain in fitted if chain] == [["temperature-scaling"]]


def test_warnings_of_a_fit_are_recorded_for_every_evaluation_that_uses_it(monkeypatch):
    import warnings

    import torch

    from calbench.benchmark.predictions.predictions import SplitPredictions
    from calbench.methods.calibrators.temperature.temperature_scaling import TemperatureScaling

    def fit(self, logits, labels):
        warnings.warn("of the fit", UserWarning, stacklevel=2)
        warnings.warn("of a library", DeprecationWarning, stacklevel=2)
        return self

    monkeypatch.setattr(TemperatureScaling, "fit", fit)
    monkeypatch.setattr(TemperatureScaling, "transform", lambda self, logits: logits)
    fits, part = chains.Fits(), SplitPredictions(torch.eye(3), torch.arange(3))
    first, second = (fits.fit((TemperatureScaling(),), part, "last") for _ in range(2))
    assert first.warnings == second.warnings == ["of the fit"]
    other = fits.fit((TemperatureScaling(),), part, "best-nll")
    assert other.chain is not first.chain
