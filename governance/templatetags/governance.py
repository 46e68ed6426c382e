"""What pages say of violations."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from django import template
from django.utils.translation import gettext as _

from governance.enforcement import Carrier, Violation

register = template.Library()

# Of the drawing, in its own units: CSS pixels where there is room for it.
WIDTH, HEIGHT = 208, 52  # of a node
STEP_X, STEP_Y = 256, 64  # from one node to the next
MOST_IN_A_COLUMN = 8


@dataclass(slots=True, eq=False)
class Node:
    """Something that the data goes through. ``x`` and ``y``: its upper left corner."""

    kind: str
    title: str
    codes: str = ""
    mono: bool = False
    x: int = 0
    y: int = 0

    @property
    def middle(self) -> int:
        return self.y + HEIGHT // 2


@dataclass(slots=True)
class Drawing:
    """Columns of nodes, and curves between them."""

    columns: tuple[list[Node], ...] = field(default_factory=lambda: ([], [], [], []))
    edges: dict[tuple[Node, Node], None] = field(default_factory=dict)

    def node(self, column: int, kind: str, title: str, codes: str = "", *, mono: bool = False) -> Node:
        """The node in a column with these words, made where it is not there. A full column has one for all others."""
        nodes = self.columns[column]
        found = next((node for node in nodes if (node.kind, node.title) == (kind, title)), None)
        if found is None and len(nodes) == MOST_IN_A_COLUMN:
            found = nodes[-1]
            found.kind, found.title, found.codes, found.mono = "", _("and others, see the list"), "", False
        elif found is None:
            found = Node(kind, title, codes, mono)
            nodes.append(found)
        return found

    def place(self) -> int:
        """Give every node its place. Returns the height."""
        rows = max(len(nodes) for nodes in self.columns)
        for column, nodes in enumerate(self.columns):
            for row, node in enumerate(nodes):
                node.x = column * STEP_X
                node.y = row * STEP_Y + (rows - len(nodes)) * STEP_Y // 2
        return rows * STEP_Y - (STEP_Y - HEIGHT)

    @property
    def curves(self) -> list[str]:
        """SVG paths, each from the right side of a node to the left side of another."""
        half = (STEP_X - WIDTH) // 2
        return [
            f"M{b.x - 2 * half} {a.middle}C{b.x - half} {a.middle} {b.x - half} {b.middle} {b.x} {b.middle}"
            for a, b in self.edges
        ]


@register.inclusion_tag("governance/_lineage.html")
def lineage(violation: Violation) -> dict[str, Any]:
    """The way of labelled data, field → segment → dataflow → destination, as a drawing and as a list."""
    drawing = Drawing()
    dataflow = drawing.node(2, _("Dataflow"), violation.use.name)
    destination = drawing.node(3, _("Destination"), violation.use.destination)
    drawing.edges[dataflow, destination] = None
    for carrier in violation.carriers:
        if carrier.segment is None:
            title = _("Part of every record") if carrier.always else _("Attribute of the records")
            middle = drawing.node(1, _("Mapping"), title)
        else:
            own = "" if carrier.path else carrier.codes
            middle = drawing.node(1, _("Segment"), carrier.segment.name, own)
        if carrier.path:
            source = drawing.node(0, _("Field"), carrier.path, carrier.codes, mono=True)
            drawing.edges[source, middle] = None
        drawing.edges[middle, dataflow] = None
    return {
        "violation": violation,
        "nodes": [node for nodes in drawing.columns for node in nodes],
        "height": drawing.place(),
        "width": 3 * STEP_X + WIDTH,
        "node_width": WIDTH,
        "node_height": HEIGHT,
        "curves": drawing.curves,
        "ways": [_way(carrier) for carrier in violation.carriers],
    }


def _way(carrier: Carrier) -> list[str]:
    """The first stations of the way, in words."""
    field_ = f"{carrier.path} ({carrier.codes})"
    if carrier.segment is None:
        return [field_, _("part of every record") if carrier.always else _("attribute of the records")]
    segment = _("segment “%(name)s”") % {"name": carrier.segment}
    return [field_, segment] if carrier.path else [f"{segment} ({carrier.codes})"]
