"""SNIP on the forget loss, theta * g_f: WAGLE's score without its utility term.

Source: Lee et al. 2019, arXiv 1810.02340.
"""

NEEDS = ("forget",)
SELECT = "global"
ROWWISE = True


def score(weight, forget):
    """Same shape as `weight`; ranked by absolute value."""
    return weight * forget
