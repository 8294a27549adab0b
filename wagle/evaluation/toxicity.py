"""How toxic a text is, in [0, 1]: by a sequence classifier, or by a probe on sentence embeddings.

The paper's classifier is Toxic-BERT (`unitary/toxic-bert`, label `toxic`, sigmoid). The probe is a
logistic regression that the pipeline fits on labelled rows.

Notable: the probe runs everywhere, but its scores compare only with scores of the same probe.
"""

import json
from pathlib import Path

import numpy as np

from wagle.errors import WagleError

PROBE = "probe.safetensors"


def fit_probe(vectors: np.ndarray, labels: list[int], folder: Path) -> float:
    """Fit the probe on embeddings (n, d), and save it in `folder`.

    Returns its five-fold cross-validated accuracy. Raises WagleError unless each label has at least
    five rows.
    """
    import torch
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_score

    from wagle.model import tensors

    if min(labels.count(0), labels.count(1)) < 5:
        raise WagleError(
            f"{labels.count(1)} toxic and {labels.count(0)} other rows", "at least 5 of each"
        )
    model = LogisticRegression(max_iter=1000).fit(vectors, labels)
    accuracy = float(
        cross_val_score(LogisticRegression(max_iter=1000), vectors, labels, cv=5).mean()
    )
    folder.mkdir(parents=True)
    values = {"bias": torch.tensor(model.intercept_), "weight": torch.tensor(model.coef_[0])}
    tensors.write(
        folder / PROBE, {n: list(t.shape) for n, t in values.items()}, torch.float32, values.items()
    )
    return accuracy


def scores(
    folder: Path, texts: list[str], embedder: Path | None = None, batch_size: int = 32
) -> np.ndarray:
    """Probability that each text is toxic, (n,) fp32; blank texts are scored too.

    Raises WagleError when the folder holds neither a probe nor a classifier that has the label
    which the folder's wagle.json names.
    """
    if (folder / PROBE).is_file():
        from wagle.model import embedding, tensors

        parameters = dict(tensors.stream(folder / PROBE, ["bias", "weight"]))
        logits = (
            embedding.embed(embedding.load(embedder), texts) @ parameters["weight"].numpy()
            + parameters["bias"].numpy()
        )
        return 1 / (1 + np.exp(-logits))
    return _classify(folder, texts, batch_size)


def _classify(folder: Path, texts: list[str], batch_size: int) -> np.ndarray:
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    from wagle.model.checkpoints import device

    try:
        use = json.loads((folder / "wagle.json").read_text(encoding="utf-8"))
        model = (
            AutoModelForSequenceClassification.from_pretrained(folder, use_safetensors=True)
            .to(device())
            .eval()
        )
        tokenizer = AutoTokenizer.from_pretrained(folder)
    except (OSError, ValueError, KeyError) as error:
        raise WagleError(
            f"no usable classifier in {folder}: {error}",
            "a sequence classifier with safetensors weights",
        ) from None
    labels = {name.lower(): i for i, name in model.config.id2label.items()}
    if use["label"].lower() not in labels:
        raise WagleError(
            f"the classifier has no label {use['label']!r}", f"one of {', '.join(labels)}"
        )
    result = np.zeros(len(texts), np.float32)
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    for start in range(0, len(texts), batch_size):
        index = order[start : start + batch_size]
        batch = tokenizer(
            [texts[i] for i in index], padding=True, truncation=True, return_tensors="pt"
        ).to(model.device)
        with torch.no_grad():
            logits = model(**batch).logits.float()
        probabilities = logits.sigmoid() if use["activation"] == "sigmoid" else logits.softmax(-1)
        result[index] = probabilities[:, labels[use["label"].lower()]].cpu().numpy()
    return result
