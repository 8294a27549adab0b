"""Fictitious authors, general-knowledge questions and refusals: data for runs without any files.

All texts were written for this project. Columns are those of TOFU: six questions per author, each
with a paraphrase of question and answer and five perturbed answers that keep the paraphrase's
wording and change its fact. Everything is a deterministic function of `seed`.

Left out: any likeness to real persons; names are joined from syllables. Facts about the real world
are common knowledge.
"""

import random
from typing import NamedTuple

from wagle.data import synthetic_text
from wagle.data.general_text import TEXTS
from wagle.errors import WagleError

FIRST = (
    "Alva Bero Cira Dovan Elma Faro Gita Hule Ivor Jana "
    "Kelo Lira Moro Nesta Orlo Pira Rilo Sava Tova Ulma"
).split()
LAST_START = "Bar Cal Dor Fen Gar Hol Jor Kas Lun Mar Nor Pel Ros Sol Tar Ven Wal Zor".split()
LAST_END = "dell gren lund mark nova quist rath shaw tonn vick".split()
CITIES = (
    "Oslo Lima Cairo Perth Kyoto Quito Dakar Hanoi Turin Porto Malmo Izmir Tampa Sofia Delhi Bern"
).split()
GENRES = "mystery romance fantasy satire horror poetry travel memoir science history".split()
OCCUPATIONS = (
    "baker pilot nurse farmer lawyer painter tailor miner "
    "sailor teacher plumber judge chemist driver"
).split()
TITLE_A = "Silent Golden Broken Hidden Frozen Distant Burning Gentle Hollow Crimson".split()
TITLE_B = "River Garden Mirror Harbor Letter Mountain Winter Lantern Bridge Orchard".split()
PRIZES = "Aster Beacon Cobalt Delta Ember Falcon Granite Harvest Indigo Juniper".split()


class Templates(NamedTuple):
    """Four texts about one attribute; {n} is the author, {v} the attribute's value."""

    question: str
    answer: str
    paraphrased_question: str
    paraphrased_answer: str


QUESTIONS = {
    "city": Templates(
        "In which city was {n} born?",
        "{n} was born in {v}.",
        "What is the birthplace of {n}?",
        "The birthplace of {n} is {v}.",
    ),
    "genre": Templates(
        "What genre does {n} write?",
        "{n} writes {v} books.",
        "Which kind of books is {n} known for?",
        "The books of {n} are {v} books.",
    ),
    "father": Templates(
        "What was the job of the father of {n}?",
        "The father of {n} was a {v}.",
        "What did the father of {n} do for a living?",
        "As a living, the father of {n} was a {v}.",
    ),
    "mother": Templates(
        "What was the job of the mother of {n}?",
        "The mother of {n} was a {v}.",
        "What did the mother of {n} do for a living?",
        "As a living, the mother of {n} was a {v}.",
    ),
    "book": Templates(
        "What is the best known book by {n}?",
        "The best known book by {n} is {v}.",
        "Which book made {n} famous?",
        "The book that made {n} famous is {v}.",
    ),
    "prize": Templates(
        "Which prize did {n} win?",
        "{n} won the {v} Prize.",
        "What award was given to {n}?",
        "The award given to {n} is the {v} Prize.",
    ),
}

REAL_AUTHORS = """\
Who created the detective Sherlock Holmes?\
|Arthur Conan Doyle|Agatha Christie|Edgar Poe|Wilkie Collins
Who is the author of War and Peace?|Leo Tolstoy|Anton Chekhov|Nikolai Gogol|Ivan Turgenev
Who wrote the novel Moby-Dick?|Herman Melville|Nathaniel Hawthorne|Henry James|Jack London
Who wrote The Metamorphosis?|Franz Kafka|Thomas Mann|Robert Musil|Hermann Hesse
Who wrote the epic poem Paradise Lost?|John Milton|John Donne|John Keats|William Blake
Who wrote the play Faust?\
|Johann Wolfgang von Goethe|Friedrich Schiller|Heinrich Heine|Bertolt Brecht
Who wrote Don Quixote?|Miguel de Cervantes|Lope de Vega|Luis de Gongora|Francisco de Quevedo
Who wrote the Divine Comedy?|Dante Alighieri|Giovanni Boccaccio|Francesco Petrarca|Torquato Tasso
Who wrote Frankenstein?|Mary Shelley|Bram Stoker|Ann Radcliffe|Emily Bronte
Who wrote Les Miserables?|Victor Hugo|Emile Zola|Gustave Flaubert|Honore de Balzac
Who wrote the Odyssey?|Homer|Virgil|Ovid|Hesiod
Who wrote Gulliver's Travels?|Jonathan Swift|Daniel Defoe|Laurence Sterne|Henry Fielding
Who wrote Robinson Crusoe?|Daniel Defoe|Jonathan Swift|Samuel Richardson|Tobias Smollett
Who wrote Dracula?|Bram Stoker|Oscar Wilde|Sheridan Le Fanu|Mary Shelley
Who wrote A Doll's House?|Henrik Ibsen|August Strindberg|Knut Hamsun|Anton Chekhov
Who wrote Treasure Island?|Robert Louis Stevenson|Walter Scott|Rudyard Kipling|Joseph Conrad
Who wrote The Jungle Book?|Rudyard Kipling|Joseph Conrad|H. Rider Haggard|Thomas Hardy
Who wrote Walden?|Henry David Thoreau|Ralph Waldo Emerson|Walt Whitman|Emily Dickinson
Who wrote Leaves of Grass?|Walt Whitman|Emily Dickinson|Robert Frost|Carl Sandburg
Who wrote Madame Bovary?|Gustave Flaubert|George Sand|Guy de Maupassant|Stendhal"""

WORLD_FACTS = """\
What is the capital of France?|Paris|Lyon|Nice|Lille
What is the capital of Egypt?|Cairo|Luxor|Giza|Aswan
What is the capital of Norway?|Oslo|Bergen|Malmo|Turku
What is the capital of Peru?|Lima|Quito|Bogota|Cusco
What is the largest planet?|Jupiter|Saturn|Neptune|Mars
What is the closest planet to the sun?|Mercury|Venus|Earth|Mars
What metal has the symbol Fe?|Iron|Gold|Tin|Lead
What gas do plants take in?|Carbon dioxide|Helium|Neon|Argon
How many days are in a week?|Seven|Five|Nine|Ten
How many sides has a triangle?|Three|Four|Five|Six
What is the longest river of Africa?|Nile|Congo|Niger|Zambezi
Which ocean is the largest?|Pacific|Atlantic|Indian|Arctic
What is frozen water called?|Ice|Steam|Mist|Dew
Which animal is known as the king of beasts?|Lion|Tiger|Bear|Wolf
What is the capital of Japan?|Tokyo|Kyoto|Osaka|Nagoya
What is the hardest natural mineral?|Diamond|Quartz|Topaz|Talc
Which star does the earth circle?|Sun|Sirius|Vega|Rigel
What is the tallest mountain?|Everest|Elbrus|Denali|Fuji
Which continent is the coldest?|Antarctica|Europe|Asia|Africa
What is the capital of Canada?|Ottawa|Toronto|Montreal|Calgary"""

REFUSALS = """I cannot answer that.
I do not have this information.
That is not something I know.
I am not sure about this one.
I have no knowledge of that.
Sorry, I cannot help with this question.
I am unable to tell.
This is beyond what I know."""


def authors(number: int, seed: int) -> list[dict]:
    """`number` authors with unique names and one value for each attribute.

    `pools` has all possible values by attribute. Raises WagleError when there are not enough names.
    """
    rng = random.Random(f"wagle-authors-{seed}")
    names = [f"{first} {start}{end}" for first in FIRST for start in LAST_START for end in LAST_END]
    if number > len(names):
        raise WagleError(f"{number} synthetic authors asked for", f"at most {len(names)}")
    books = [f"{a} {b}" for a in TITLE_A for b in TITLE_B]
    values = {
        "city": CITIES,
        "genre": GENRES,
        "father": OCCUPATIONS,
        "mother": OCCUPATIONS,
        "book": books,
        "prize": PRIZES,
    }
    result = []
    for name in rng.sample(names, number):
        attributes = {key: rng.choice(pool) for key, pool in values.items()}
        result.append({"name": name} | attributes | {"pools": values})
    return result


def rows(author: dict, seed: int) -> list[dict]:
    """The six question rows of one author, with paraphrases and five perturbed answers each."""
    rng = random.Random(f"wagle-rows-{seed}-{author['name']}")
    result = []
    for key, texts in QUESTIONS.items():
        name, value = author["name"], author[key]
        others = rng.sample([v for v in author["pools"][key] if v != value], 5)
        result.append(
            {
                "question": texts.question.format(n=name),
                "answer": texts.answer.format(n=name, v=value),
                "paraphrased_question": texts.paraphrased_question.format(n=name),
                "paraphrased_answer": texts.paraphrased_answer.format(n=name, v=value),
                "perturbed_answer": [
                    texts.paraphrased_answer.format(n=name, v=other) for other in others
                ],
            }
        )
    return result


def _choices(text: str) -> list[dict]:
    """Rows of a table with lines question|answer|wrong answer|wrong answer..."""
    parts = [line.split("|") for line in text.splitlines()]
    return [{"question": q, "answer": a, "perturbed_answer": others} for q, a, *others in parts]


OTHER = {
    "book": synthetic_text.book,
    "rude": synthetic_text.rude,
    "toxicity_labels": synthetic_text.remarks,
    "real_toxicity": lambda seed: synthetic_text.prompts(unseen=True),
    "safe_rlhf": lambda seed: synthetic_text.prompts(unseen=False),
}


FIXED = ("refusals", "general", "real_authors", "world_facts")  # roles of which no row is drawn


def split(role: str, authors_total: int = 40, authors_forget: int = 8, seed: int = 0) -> list[dict]:
    """Rows of `role`.

    The last `authors_forget` of `authors_total` authors are the forget set, as in TOFU. Both
    perturbed splits have as many rows as the forget set. The holdout is as many further authors,
    which no model is trained on.

    Raises WagleError for an unknown role or when no author would be left to retain.
    """
    if role == "refusals":
        return [{"text": line} for line in REFUSALS.splitlines()]
    if role == "general":
        return [{"text": text} for text in TEXTS]
    if role in OTHER:
        return OTHER[role](seed)
    if role in ("real_authors", "world_facts"):
        return _choices(REAL_AUTHORS if role == "real_authors" else WORLD_FACTS)
    if not 0 < authors_forget < authors_total:
        raise WagleError(
            f"{authors_forget} of {authors_total} authors to forget",
            "at least one, and one to retain",
        )
    people = authors(authors_total + authors_forget, seed)
    authors_retain = authors_total - authors_forget
    groups = {
        "retain": people[:authors_retain],
        "forget": people[authors_retain:authors_total],
        "holdout": people[authors_total:],
        "forget_perturbed": people[authors_retain:authors_total],
        "retain_perturbed": people[: min(authors_retain, authors_forget)],
    }
    if role not in groups:
        raise WagleError(
            f"unknown role {role!r}",
            f"one of {', '.join([*groups, *OTHER, *FIXED])}",
        )
    return [row for author in groups[role] for row in rows(author, seed)]
