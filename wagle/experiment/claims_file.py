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
        about_task = [
            {key: value for key, value in claim.items() if key != "task"}
            for claim in stated["claims"]
            if task in claim["task"]
        ]
        limits = {"level": stated["level"], "least_seeds": stated["least_seeds"]}
        return limits | {"judged_on": stated.get("judged_on", {}), "claims": about_task}
    except (OSError, yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        raise WagleError(
            f"{path} cannot be read: {error!r}",
            "level, least_seeds, and claims with id, task, text and all_of",
        ) from None
