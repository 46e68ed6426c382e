"""What the builder offers to choose from: fields, namespaces, segments, and values that customers have."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from functools import cached_property

from django.db.models import F
from django.db.models.fields.json import KeyTextTransform
from django.utils.translation import gettext as _

from profiles import selectors
from profiles.models import IdentityNamespace, Profile, SchemaField, Segment
from profiles.pql import Schema
from profiles.segmentation.builder.operators import IDENTITY, SEGMENT, UNKNOWN
from profiles.segmentation.builder.tree import IDENTITY_MAP, MEMBERSHIP

ASKED = 1_000  # of the newest profiles: their values are known
SHOWN = 12  # values of a field
MOST_SEGMENTS = 1_000  # in a list to choose from


@dataclass(frozen=True)
class Sources:
    """Args:
    segment_id: whose rule it is; empty for a new segment.
    show_values: to somebody who may see customers.
    """

    segment_id: str = ""
    show_values: bool = False
    _values: dict[str, list[str]] = field(default_factory=dict)

    @cached_property
    def fields(self) -> dict[str, SchemaField]:
        return {known.path: known for known in SchemaField.objects.order_by("path")}

    @cached_property
    def namespaces(self) -> list[IdentityNamespace]:
        return list(selectors.namespaces())

    @cached_property
    def _segments(self) -> list[tuple[str, str, str]]:
        return list(Segment.objects.order_by("name", "pk").values_list("pk", "name", "rule"))

    @cached_property
    def schema(self) -> Schema:
        """Three queries, with what else is here."""
        return Schema(
            fields={path: known.type for path, known in self.fields.items()},
            segments={key: rule for key, _name, rule in self._segments},
            namespaces={namespace.code for namespace in self.namespaces},
        )

    def segments(self, current: str) -> list[tuple[str, str]]:
        """Ids and names of segments that a rule can refer to, and of the one that it does."""
        others = [(key, name) for key, name, _rule in self._segments if key != self.segment_id]
        found = others[:MOST_SEGMENTS]
        return found + [(key, name) for key, name in others[MOST_SEGMENTS:] if key == current]

    def type(self, subject: str, below: str = "") -> str:
        """What can be asked of a subject: a type of the schema or of operators.py."""
        if subject == MEMBERSHIP:
            return SEGMENT
        if subject.startswith(f"{IDENTITY_MAP}."):
            return IDENTITY
        known = self.fields.get(subject)
        return known.type if known and not below else UNKNOWN

    def label(self, subject: str) -> str:
        """What a subject is called; its path where nobody gave it a name."""
        if subject == MEMBERSHIP:
            return _("Segment membership")
        first, _dot, code = subject.partition(".")
        if first == IDENTITY_MAP and code:
            names = (n.label for n in self.namespaces if n.code == code)
            return _("Identity: %(name)s") % {"name": next(names, code)}
        known = self.fields.get(subject)
        return known.label if known else subject

    @cached_property
    def tree(self) -> list[selectors.Node]:
        """The fields to choose from; what has tables of its own stands apart."""
        asides = (IDENTITY_MAP, MEMBERSHIP)
        return selectors.schema_tree(
            known for path, known in self.fields.items() if path.partition(".")[0] not in asides
        )

    def ask_values(self, paths: Collection[str]) -> None:
        """Learn which texts customers have at these paths, for :meth:`values`. One query at most."""
        wanted = [path for path in paths if self.type(path) == SchemaField.Type.STRING]
        if not wanted or not self.show_values:
            return
        columns = []
        for path in wanted:
            column: F | KeyTextTransform = F("attributes")
            for name in path.split("."):
                column = KeyTextTransform(name, column)
            columns.append(column)
        newest = Profile.objects.order_by("-pk").values_list(*columns)[:ASKED]
        for path, found in zip(wanted, zip(*newest, strict=True), strict=False):
            counted = Counter(value for value in found if value and len(value) <= 60 and "\n" not in value)
            # What one customer alone has, an address or a number, is nothing to choose from.
            self._values[path] = [value for value, n in counted.most_common(SHOWN) if n > 1]

    def values(self, path: str) -> list[str]:
        return self._values.get(path, [])
