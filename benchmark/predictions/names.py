"""Names that files commonly use for logits, probabilities, labels and the like, compared word by word."""

import re

LOGITS = ("logits", "logit", "z", "raw_logits", "logits_raw", "output_logits", "class_logits", "pre_softmax")
PROBABILITIES = (
    "probabilities", "probability", "probas", "proba", "probs", "prob", "softmax", "softmaxes", "softmax_output",
    "softmax_outputs", "softmax_scores", "softmax_probs", "y_prob", "y_probs", "y_proba", "y_probas", "pred_prob",
    "pred_probs", "pred_proba", "pred_probas", "predicted_prob", "predicted_probs", "predicted_probability",
    "predicted_probabilities", "prediction_probabilities", "prob_class", "proba_class", "probability_class",
    "class_prob", "class_probs", "class_probability", "class_probabilities", "prob_pred", "y_pred_prob",
    "y_pred_proba", "y_pred_probs", "test_probs", "p",
)  # fmt: skip
UNCLEAR = (
    "predictions", "prediction", "preds", "pred", "outputs", "output", "scores", "score", "y_pred", "y_preds",
    "y_score", "y_scores", "y_hat", "yhat", "model_output", "model_outputs", "class", "class_score", "class_scores",
    "pred_scores", "pred_score", "confidences", "out", "raw_scores", "raw_outputs",
)  # fmt: skip
LABELS = (
    "labels", "label", "targets", "target", "ground_truth", "ground_truths", "groundtruth", "y_true", "y_trues",
    "true_label", "true_labels", "target_label", "target_labels", "gt", "gts", "gt_label", "gt_labels", "y_test",
    "y_val", "truth", "truths", "true_class", "true_classes", "true_y", "true_target", "true_targets", "label_true",
    "labels_true", "label_id", "label_ids", "label_idx", "label_index", "class_label", "class_labels", "class_id",
    "class_ids", "class_idx", "class_index", "actual_label", "actual_labels", "actual_class", "correct_label",
    "correct_class", "y_actual", "y_label", "y_labels", "target_class", "gt_class",
)  # fmt: skip
WEAK_LABELS = (
    "y", "true", "trues", "obs", "observed", "class", "classes", "actual", "actuals", "answer", "answers", "category",
    "category_id", "reference", "expected",
)  # fmt: skip
"""Names of labels where there are none of `LABELS`."""
FEATURES = ("features", "feature", "embeddings", "embedding", "feats", "pooled_features", "penultimate")
CLASS_NAMES = (
    "class_names", "classes", "class_labels", "label_names", "labels_names", "categories", "target_names", "names",
    "classnames", "idx_to_class", "class_list",
)  # fmt: skip
IDS = (
    "id", "ids", "image_id", "image_ids", "sample_id", "sample_ids", "img_id", "uid", "uuid", "file", "files",
    "filename", "filenames", "file_name", "file_names", "image", "images", "image_name", "img", "img_name", "path",
    "paths", "image_path", "img_path", "file_path", "filepath", "index", "idx", "sample", "sample_idx", "key", "name",
    "row", "row_id", "case_id", "patient_id",
)  # fmt: skip
SPLITS = {
    "cal": "calibration", "calib": "calibration", "calibration": "calibration", "val": "calibration",
    "valid": "calibration", "validation": "calibration", "dev": "calibration", "test": "test", "testing": "test",
    "train": "train", "training": "train",
}  # fmt: skip

_COLLECTED = frozenset(("all", "list", "lists", "array", "arrays", "arr", "np", "numpy", "tensor", "tensors"))
"""Words at the ends of names that say how something was collected: ``all_logits``, ``labels_list``."""

_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_SEPARATORS = re.compile(r"[^a-z0-9]+")

GROUPS = frozenset({"model", "model_name", "name", "method", "arch", "architecture", "backbone", "network", "split"})
"""Of text that names what a record with a matrix of its own is of."""


def normal(name: str) -> str:
    """A name in words of lower case: ``trueLabel``, ``.true-label``, ``all_true_label`` are alike."""
    words = _SEPARATORS.sub("_", _CAMEL.sub("_", name.strip()[:200]).lower()).strip("_").split("_")
    for place in (0, -1):
        while len(words) > 1 and words[place] in _COLLECTED:
            del words[place]
    return "_".join(words)


def is_score_name(path: str) -> bool:
    """Whether the last part of a path is a name of logits or probabilities, or one that may be either."""
    return normal(path.rpartition("/")[2]) in _SCORES


def is_label_name(path: str) -> bool:
    """Whether the last part of a path is a name of labels."""
    return normal(path.rpartition("/")[2]) in _LABELS


def is_known(name: str) -> bool:
    """Whether `name` is one that is recognised."""
    return normal(name) in _ALL


_SCORES = frozenset((*LOGITS, *PROBABILITIES, *UNCLEAR))
_LABELS = frozenset((*LABELS, *WEAK_LABELS))
_ALL = frozenset((*LOGITS, *PROBABILITIES, *UNCLEAR, *LABELS, *WEAK_LABELS, *FEATURES, *CLASS_NAMES, *IDS))
