"""The paper's claims as they are stated in claims.yaml."""

from wagle.errors import WagleError
from wagle.runtime import assets


def claims(task: str) -> dict:
    """{level, least_seeds, judged_on, claims} of assets/claims.yaml, the claims about `task` only.

    Raises WagleError for a broken file.
    """
    import yaml

    path = assets.path("claims.yaml")
    try:
        stated = yaml.safe_load(path.read_text(encoding="utf-8"))
        chosen = [
            {k: v for k, v in claim.items() if k != "task"}
            for claim in stated["claims"]
            if task in claim["task"]
        ]
        judged_on = stated.get("judged_on", {})
        head = {"level": stated["level"], "least_seeds": stated["least_seeds"]}
        return head | {"judged_on": judged_on, "claims": chosen}
    except (OSError, yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        raise WagleError(
            f"{path} cannot be read: {error!r}",
            "level, least_seeds, and claims with id, task, text and all_of",
        ) from None
