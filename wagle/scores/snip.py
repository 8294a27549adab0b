"""SNIP on the forget loss, theta * g_f (Lee et al. 2019, arXiv 1810.02340): WAGLE without its utility term."""

NEEDS = ("forget",)
SELECT = "global"
ROWWISE = True


def score(weight, forget):
    """Same shape as `weight`; ranked by absolute value."""
    return weight * forget
