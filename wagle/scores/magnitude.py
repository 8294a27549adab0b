"""abs(theta), ranked over all parameters together (paper, section 5.1, baseline "Magnitude")."""

NEEDS = ()
SELECT = "global"
ROWWISE = True


def score(weight):
    """Same shape as `weight`, non-negative."""
    return weight.abs()
