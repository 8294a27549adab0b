"""Fig. 2 of the paper: share of weights selected in each kind of module."""

from wagle.experiment import densities

CAPTION = "Fig. 2. Share of weights selected in each kind of module."
SIZE = (8.5, 4.6)


def cells(config, options):
    return []


def inputs(config, options):
    return {"densities": densities.mask_tables(config, options)}


def params(config, options):
    return options


def table(files, params):
    from wagle.reporting import masks

    return masks.densities(files["densities"], params["selections"], masks.by_module)


def draw(figure, data, params):
    from wagle.reporting import masks

    masks.draw_bars(figure, data, params, "Module")
