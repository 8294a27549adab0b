"""The tokenized rows of a training run."""

from dataclasses import dataclass, field

from wagle.data.prompts import Encoded


@dataclass(frozen=True)
class TrainingData:
    """Tokenized rows. Fine-tuning takes its rows as `forget` and has no `retain` rows.

    pad_id: the token that fills shorter rows of a batch.
    refusals: the forget questions with refusals as answers, one for each row of `forget`, for an
        objective that reads both; otherwise empty.
    """

    forget: list[Encoded]
    retain: list[Encoded]
    pad_id: int
    refusals: list[Encoded] = field(default_factory=list)
