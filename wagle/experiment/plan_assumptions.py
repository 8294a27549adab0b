"""What a plan takes for granted: accelerators and sizes of data sets."""

from typing import NamedTuple


class Gpu(NamedTuple):
    """An accelerator, as its vendor's data sheet describes it."""

    name: str
    memory: float  # bytes
    flops: float  # dense bf16 a second
    bandwidth: float  # bytes a second


# vendors' data sheets
GPUS = (
    Gpu("A100 80 GB", 80e9, 312e12, 2.0e12),
    Gpu("H100 80 GB", 80e9, 989e12, 3.35e12),
    Gpu("H200 141 GB", 141e9, 989e12, 4.8e12),
)
TOFU_ROWS = {
    "full": 4000,
    "forget01": 40,
    "forget05": 200,
    "forget10": 400,
    "forget01_perturbed": 40,
    "forget05_perturbed": 200,
    "forget10_perturbed": 400,
    "holdout01": 40,
    "holdout05": 200,
    "holdout10": 400,
    "retain90": 3600,
    "retain95": 3800,
    "retain99": 3960,
    "retain_perturbed": 400,
    "real_authors_perturbed": 100,
    "world_facts_perturbed": 117,
}
TEXTS = {  # scored texts a row
    "forget_perturbed": 13,
    "retain_perturbed": 13,
    "real_authors": 4,
    "world_facts": 4,
}
ASSUMED_ROWS = 1000  # of a split whose size is unknown
USABLE = 0.95  # share of a GPU's memory that a stage may fill
HOST_BUS = 31.5e9  # bytes a second in one direction: PCI Express 4.0 with 16 lanes
START_SECONDS = 30  # a job's start and the loading of a 7B checkpoint from a local disk
