"""Batched greedy decoding.

Prompts are left-padded and sorted by length; a batch stops when every row of it has ended.
Left out: sampling. Greedy decoding makes an answer a function of model and prompt alone.
"""

import torch

from wagle.data.batching import by_length, collate_left
from wagle.data.prompts import encode_prompt


@torch.no_grad()
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
    unique = list(dict.fromkeys(prompts))
    budget = 1 if max_total else token_budget
    decoded = {}
    for batch in by_length([len(prompt) + max_new_tokens for prompt in unique], budget):
        ids, attention = collate_left(
            [unique[i] for i in batch], tokenizer.pad_token_id, model.device
        )
        new = max_new_tokens if max_total is None else max(1, max_total - ids.shape[1])
        output = model.generate(
            input_ids=ids,
            attention_mask=attention,
            max_new_tokens=new,
            do_sample=False,
            num_beams=1,
            temperature=None,
            top_p=None,
            top_k=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
        for i, row in zip(batch, output[:, ids.shape[1] :], strict=True):
            decoded[unique[i]] = tokenizer.decode(row, skip_special_tokens=True).strip()
    return [decoded[prompt] for prompt in prompts]


def tasks(splits: dict[str, list[dict]]) -> list[dict]:
    """The questions to answer: one mapping per question, with its split, row and reference answer.

    The original question is answered for Rouge-L, the paraphrased one, where a row has it, for the
    similarity to `candidates`. Rows without perturbed answers (the holdout) are scored only.
    """
    entries = []
    for split, rows in splits.items():
        rows = [row for row in rows if "perturbed_answer" in row]
        for number, row in enumerate(rows):
            entry = {
                "split": split,
                "row": number,
                "asked": "original",
                "question": row["question"],
                "answer": row["answer"],
            }
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
