"""WikiText's lines as documents, scored as the harness's own task `wikitext` scores them.

The raw data set has one line a row, and the empty text for a blank line. The harness scores whole
articles: their log-likelihood after detokenization, per word of the article as it was. Its
detokenizer and its counts are used here, so that a perplexity is the one that papers report.

Notable: a blank line of the raw file holds one blank, which belongs to the article's text.
"""


def pages(rows: list[str]) -> list[str]:
    """The articles in lines of a raw WikiText file: each begins with its title (` = Title = `)."""
    lines = [row.removesuffix("\n") if row.strip() else " " for row in rows]
    result, page = [], []
    for line in [*lines, ""]:  # the file's last line ends as the others do
        if _is_title(line):
            if "".join(page).strip():
                result.append("\n".join(page))
            page = []
        page.append(line)
    return [*result, "\n".join(page)]


def _is_title(line: str) -> bool:
    """Whether the line is a title, and no heading inside an article (` = = Heading = = `)."""
    text = line.replace("= = =", "===").replace("= =", "==").strip()
    return text.startswith("= ") and text.endswith(" =")


def documents(dataset):
    """The harness's documents of a data set of lines."""
    return type(dataset).from_dict({"page": pages(list(dataset["text"]))})


def functions() -> dict:
    """The parts of the harness's task that are code."""
    from lm_eval.tasks.wikitext import preprocess_wikitext as own

    return {
        "process_docs": documents,
        "doc_to_target": own.wikitext_detokenizer,
        "process_results": own.process_results,
    }
