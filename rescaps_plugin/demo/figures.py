"""Interactive figures of the page, by Plotly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

# Legible on a bright and on a dark page.
INK, LINE = '#7a828e', 'rgba(128, 128, 128, 0.25)'
# Bars that are legible side by side, with their names.
MAX_BARS = 12
COLORS = ('#e4572e', '#3d7ea6', '#8f9bb3', '#6a994e', '#b56576')


def _style(figure: go.Figure, height: int) -> go.Figure:
    clear = 'rgba(0, 0, 0, 0)'
    figure.update_layout(
        height=height,
        margin=dict(l=8, r=8, t=28, b=8),
        paper_bgcolor=clear,
        plot_bgcolor=clear,
        font=dict(color=INK, size=12),
        legend=dict(orientation='h', x=0.5, xanchor='center', y=-0.12, yanchor='top'),
    )
    figure.update_xaxes(gridcolor=LINE, zeroline=False, automargin=True, fixedrange=True)
    figure.update_yaxes(gridcolor=LINE, zeroline=False, automargin=True, fixedrange=True)
    return figure


def draw_bars(classes: Sequence[str], scores: Mapping[str, np.ndarray], title: str) -> go.Figure:
    """Draw the scores of classes as bars, those of several models side by side.

    Of more than :data:`MAX_BARS` classes, those with the highest scores are drawn, the highest first.

    Args:
        classes: Names of the classes.
        scores: Scores ``[classes]`` in [0, 1] by model.
        title: Title of the figure.
    """
    shown = np.arange(len(classes))
    if len(classes) > MAX_BARS:
        highest = np.max([*scores.values()], axis=0)
        shown = np.argsort(-highest, kind='stable')[:MAX_BARS]
        title = f'{title}: the highest of {len(classes)}'
    names = [classes[index] for index in shown]
    figure = go.Figure(
        [
            go.Bar(name=name, x=names, y=values[shown].tolist(), marker_color=color)
            for (name, values), color in zip(scores.items(), COLORS * len(scores), strict=False)
        ]
    )
    figure.update_layout(
        barmode='group', bargap=0.25, showlegend=True, title=dict(text=title, font_size=14, x=0.5, y=0.98)
    )
    figure.update_yaxes(range=[0, 1.02])
    figure.update_xaxes(type='category')
    if sum(map(len, names)) < 50:
        return _style(figure, 260)
    # Long names are slanted, and need the room of the legend.
    return _style(figure, 300).update_layout(legend_y=-0.4)


def draw_curves(
    values: np.ndarray, lines: Mapping[str, np.ndarray], pose: np.ndarray, current: float, axis: str
) -> go.Figure:
    """Draw activations of classes, and the pose of one of them, by a change of the input.

    Args:
        values: Values of the change ``[t]``.
        lines: Activations ``[t]`` by class.
        pose: Pose entries ``[t, d]`` of the first class.
        current: Value that the input has now, which is marked.
        axis: Name of the change.
    """
    best = next(iter(lines))
    figure = make_subplots(
        rows=2, cols=1, shared_xaxes=True, vertical_spacing=0.14, subplot_titles=('activation', f'pose of {best}')
    )
    for (name, ys), color in zip(lines.items(), COLORS * len(lines), strict=False):
        figure.add_scatter(x=values, y=ys, name=name, line=dict(color=color, width=2.5), row=1, col=1)
    for entry in pose.T:
        figure.add_scatter(x=values, y=entry, line=dict(width=1.2), showlegend=False, row=2, col=1)
    figure.add_vline(x=current, line=dict(color=INK, dash='dot'))
    figure.update_yaxes(range=[0, 1.02], row=1, col=1)
    figure.update_xaxes(title_text=axis, row=2, col=1)
    _style(figure, 440)
    figure.update_layout(legend_y=-0.16)
    return figure


def draw_cloud(points: np.ndarray, colors: np.ndarray, marked: np.ndarray | None = None) -> go.Figure:
    """Draw a cloud that can be turned.

    Args:
        points: Cloud ``[n, 3]`` in the unit sphere, ``y`` up.
        colors: uint8 colours ``[n, 3]``.
        marked: bool ``[n]``: points to draw larger, the others in grey. Defaults to None: no point is marked.
    """
    groups = [(slice(None), None, 2.2)] if marked is None else [(~marked, '#b8bec8', 1.6), (marked, None, 4.0)]
    figure = go.Figure()
    for chosen, color, size in groups:
        x, y, z = points[chosen].T.round(3)
        paint = color or [f'rgb({red},{green},{blue})' for red, green, blue in colors[chosen]]
        # Plotly has z up; y becomes the height, and z points to the viewer.
        figure.add_scatter3d(x=x, y=-z, z=y, mode='markers', marker=dict(size=size, color=paint), hoverinfo='skip')
    hidden = dict(visible=False, range=[-1, 1])
    figure.update_layout(
        scene=dict(
            xaxis=hidden,
            yaxis=hidden,
            zaxis=hidden,
            aspectmode='cube',
            camera=dict(eye=dict(x=0.55, y=-1.45, z=0.5)),
        ),
        showlegend=False,
        uirevision='kept',  # the view stays when the points change
    )
    _style(figure, 340)
    figure.update_layout(margin=dict(l=0, r=0, t=0, b=0))
    return figure
