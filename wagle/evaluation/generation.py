"""Batched greedy decoding.

Prompts are left-padded and sorted by length; a batch stops when every row of it has ended.

Notable: settings that a checkpoint brings with it, such as a repetition penalty, are put aside.
Only its end-of-sequence tokens count, beside the tokenizer's own and a chat's end of turn.
Left out: sampling. Greedy decoding makes an answer a function of model and prompt alone.
"""

import contextlib
from collections.abc import Iterator

import torch

from wagle.data.batching import by_length, collate_left
from wagle.data.encoding import halves
from wagle.data.prompts import encode_prompt, stop_tokens
from wagle.evaluation.progress import Answers

SCORED_ONLY = ("holdout", "general")  # splits whose rows are scored and not answered


def end_tokens(model, tokenizer, template: str) -> list[int]:
    """Ids that end an answer.

    Those of tokenizer and template, then those of the model's generation settings.
    """
    settings = getattr(model, "generation_config", None)
    ids = getattr(settings, "eos_token_id", None)
    ids = ids if isinstance(ids, (list, tuple)) else [] if ids is None else [ids]
    return list(dict.fromkeys([*stop_tokens(tokenizer, template), *ids]))


@contextlib.contextmanager
def _greedy(model, ends: list[int], pad: int) -> Iterator[None]:
    """Greedy decoding as the model's generation settings; afterwards it has its own again.

    Settings that generate() is given do not suffice: what they leave open comes from the model's.
    """
    from transformers import GenerationConfig

    own = model.generation_config
    model.generation_config = GenerationConfig(
        do_sample=False, num_beams=1, eos_token_id=ends, pad_token_id=pad
    )
    try:
        yield
    finally:
        model.generation_config = own


def answers(
    model,
    tokenizer,
    questions: list[str],
    *,
    template: str,
    max_new_tokens: int,
    token_budget: int,
    max_total: int | None = None,
) -> list[str]:
    """One text per question, special tokens dropped, blanks at the ends stripped.

    A batch's rows times (prompt + new tokens) stay under `token_budget`. `max_total` limits prompt
    plus answer in tokens, as the official code does; its batches then have one row each.
    """
    prompts = [encode_prompt(tokenizer, template, question) for question in questions]
    return continuations(
        model,
        tokenizer,
        prompts,
        template=template,
        max_new_tokens=max_new_tokens,
        token_budget=token_budget,
        max_total=max_total,
    )


@torch.no_grad()
def continuations(
    model,
    tokenizer,
    prompts: list[tuple[int, ...]],
    *,
    template: str,
    max_new_tokens: int,
    token_budget: int,
    max_total: int | None = None,
    saved: Answers | None = None,
) -> list[str]:
    """What follows each of `prompts`, which are token ids; otherwise as answers().

    template: says which tokens end an answer. saved: answers of a stopped run, to which each
    finished batch is added.
    """
    unique = list(dict.fromkeys(prompts))
    budget = 1 if max_total else token_budget
    ends, pad, decoded = end_tokens(model, tokenizer, template), tokenizer.pad_token_id, {}
    known = saved.read() if saved else {}
    for batch in by_length([len(prompt) + max_new_tokens for prompt in unique], budget):
        if all(unique[i] in known for i in batch):
            decoded |= {unique[i]: known[unique[i]] for i in batch}
            continue
        ids, attention = collate_left([unique[i] for i in batch], pad, model.device)
        new = max_new_tokens if max_total is None else max(1, max_total - ids.shape[1])
        with _greedy(model, ends, pad):
            output = model.generate(input_ids=ids, attention_mask=attention, max_new_tokens=new)
        for i, row in zip(batch, output[:, ids.shape[1] :].tolist(), strict=True):
            length = next((n for n, token in enumerate(row) if token in ends), len(row))
            decoded[unique[i]] = tokenizer.decode(row[:length], skip_special_tokens=True).strip()
        if saved:
            saved.add({unique[i]: decoded[unique[i]] for i in batch})
    return [decoded[prompt] for prompt in prompts]


def answer_all(
    model,
    tokenizer,
    splits: dict[str, list[dict]],
    *,
    template: str,
    max_length: int,
    max_new_tokens: int,
    **decoding,
) -> list[dict]:
    """tasks() with the model's answer to each, `generated`.

    Of a raw text the model continues the first half, and the reference is what follows there.
    `decoding` is token_budget, max_total and saved of continuations().
    """
    entries = tasks(splits)
    prompts = []
    for entry in entries:
        if "text" in entry:
            parts = halves(tokenizer, entry.pop("text"), max_length, max_new_tokens)
            entry |= {"question": parts.beginning, "answer": parts.rest}
            prompts.append(parts.prompt)
        else:
            prompts.append(encode_prompt(tokenizer, template, entry["question"]))
    texts = continuations(
        model, tokenizer, prompts, template=template, max_new_tokens=max_new_tokens, **decoding
    )
    return [entry | {"generated": text} for entry, text in zip(entries, texts, strict=True)]


def tasks(splits: dict[str, list[dict]]) -> list[dict]:
    """The questions to answer: one mapping per question, with its split, row and reference answer.

    The original question is answered for Rouge-L, the paraphrased one, where a row has it, for the
    similarity to `candidates`. A raw text is an entry with `text`. The rows of SCORED_ONLY are not
    answered.
    """
    entries = []
    for split, rows in splits.items():
        if split in SCORED_ONLY:
            continue
        for number, row in enumerate(rows):
            entry = {"split": split, "row": number, "asked": "original"}
            if "text" in row:
                entries.append(entry | {"text": row["text"]})
                continue
            entry |= {"question": row["question"], "answer": row["answer"]}
            entries.append(entry)
            if "paraphrased_question" in row:
                candidates = [row["paraphrased_answer"], *row["perturbed_answer"]]
                entries.append(
                    entry
                    | {
                        "asked": "paraphrased",
                        "question": row["paraphrased_question"],
                        "candidates": candidates,
                    }
                )
    return entries
