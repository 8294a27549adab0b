"""Names of metrics and splits as tables, protocols and tasks write them. Standard library only."""

EFFICACY = ("FQ", "MIA", "1-FA", "1-Rouge-L")
BY_ROWS = "UE Avg (KS)"  # UE Avg with the KS statistic in FQ's place: a sum of means over rows
UTILITY = (
    "retain Acc",
    "retain Rouge-L",
    "real authors Acc",
    "real authors Rouge-L",
    "world facts Acc",
    "world facts Rouge-L",
)
UTILITY_SPLITS = {
    "retain_perturbed": "retain",
    "real_authors": "real authors",
    "world_facts": "world facts",
}
REMEMBERED = ("Rouge-L", "probability", "extraction strength", "exact memorization")
DEGENERATE = "degenerate"  # share of answers that are empty or repeat themselves
SPLITS = {"forget_perturbed": "forget", **UTILITY_SPLITS}
