"""Batched greedy answers: prompts left-padded, sorted by length, stopped when every row of a batch has ended.

Left out: sampling. Greedy decoding makes an answer a function of model and prompt alone.
"""

import torch

from wagle.data.batching import by_length, collate_left
from wagle.data.prompts import encode_prompt


@torch.no_grad()
def answers(model, tokenizer, questions: list[str], *, template: str, max_new_tokens: int, token_budget: int,
            max_total: int | None = None) -> list[str]:  # fmt: skip
    """One text per question, special tokens dropped, blanks at the ends stripped.

    A batch's rows times (prompt + new tokens) stay under `token_budget`. `max_total`, where given, limits prompt plus
    answer as the official code does; it needs equal prompts in a batch, so there rows go one at a time.
    """
    prompts = [encode_prompt(tokenizer, template, question) for question in questions]
    unique = list(dict.fromkeys(prompts))
    budget = 1 if max_total else token_budget
    found = {}
    for batch in by_length([len(prompt) + max_new_tokens for prompt in unique], budget):
        ids, attention = collate_left(
            [unique[i] for i in batch], tokenizer.pad_token_id, model.device
        )
        new = max_new_tokens if max_total is None else max(1, max_total - ids.shape[1])
        output = model.generate(
            input_ids=ids, attention_mask=attention, max_new_tokens=new, do_sample=False, num_beams=1,
            temperature=None, top_p=None, top_k=None, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
        )  # fmt: skip
        for i, row in zip(batch, output[:, ids.shape[1] :], strict=True):
            found[unique[i]] = tokenizer.decode(row, skip_special_tokens=True).strip()
    return [found[prompt] for prompt in prompts]


def tasks(splits: dict[str, list[dict]]) -> list[dict]:
    """What is generated: original question for Rouge-L everywhere, paraphrased question where candidates exist.

    Rows without perturbed answers (the holdout) are scored, not answered.
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
