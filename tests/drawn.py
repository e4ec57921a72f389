"""What a figure shows, for tests: its labels, whether they can be read, its colours to eyes that tell fewer apart."""

import io
from itertools import combinations

import numpy as np
from matplotlib.colors import to_rgb

# Machado, Oliveira and Fernandes 2009, IEEE Trans. Vis. Comput. Graph. 15, 1291: severity 1.0, linear RGB.
DEFICIENCIES = {
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def png(figure) -> bytes:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", metadata={"Software": ""})
    return stream.getvalue()


def legend_of(figure) -> list[str]:
    legends = [*figure.legends, *(axes.get_legend() for axes in figure.axes if axes.get_legend() is not None)]
    return [text.get_text() for legend in legends for text in legend.get_texts()]


def line(figure, label):
    """x and y of the line of a label."""
    (found,) = (one for axes in figure.axes for one in axes.get_lines() if one.get_label() == label)
    return found.get_xdata(orig=True), found.get_ydata(orig=True)


def unreadable(figure) -> list[str]:
    """What stands on each other or beyond the edge: tick labels of an axis, titles and labels of axes."""
    figure.canvas.draw()
    renderer, page = figure.canvas.get_renderer(), figure.bbox
    faults = []
    for axes in (one for one in figure.axes if one.get_visible()):
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            ticks = [t.label1 for t in axis.get_major_ticks() if low <= t.get_loc() <= high and t.label1.get_visible()]
            boxes = [(t.get_text(), t.get_window_extent(renderer)) for t in ticks if t.get_text()]
            faults += [f"{a[0]!r} on {b[0]!r}" for a, b in combinations(boxes, 2) if a[1].overlaps(b[1])]
            named = [axis.label, axes.title, *(t for t, _ in zip(ticks, boxes, strict=False))]
            for text in (t for t in named if t.get_text() and t.get_visible()):
                box = text.get_window_extent(renderer)
                if box.x0 < -1 or box.y0 < -1 or box.x1 > page.x1 + 1 or box.y1 > page.y1 + 1:
                    faults.append(f"{text.get_text()!r} beyond the edge")
    return faults


def told_apart(colours, kind="") -> float:
    """The smallest CIE76 difference between colours, as eyes of a kind see them."""
    rgb = np.array([to_rgb(colour) for colour in colours])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    if kind:
        linear = np.clip(linear @ np.array(DEFICIENCIES[kind]).T, 0, 1)
    relative = linear @ _XYZ.T / (_XYZ @ np.ones(3))
    f = np.where(relative > 0.008856, np.cbrt(relative), 7.787 * relative + 16 / 116)
    lab = np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], axis=1)
    return min(float(np.linalg.norm(a - b)) for a, b in combinations(lab, 2))
