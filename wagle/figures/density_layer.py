"""Fig. A2 of the paper: share of weights selected in each layer."""

from wagle.experiment import densities

CAPTION = "Fig. A2. Share of weights selected in each layer."
SIZE = (8.5, 4.6)


def cells(config, options):
    return []


def inputs(config, options):
    return {"densities": densities.mask_tables(config, options)}


def params(config, options):
    return options


def table(files, params):
    from wagle.reporting import masks

    return masks.densities(files["densities"], params["selections"], masks.by_layer)


def draw(figure, data, params):
    from wagle.reporting import masks

    masks.draw_bars(figure, data, params, "Layer (0 = first)")
