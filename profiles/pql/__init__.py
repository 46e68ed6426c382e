"""Profile Query Language: rules over profiles, the text of segments.

A rule is parsed once (parse.py, by grammar.lark) into a tree (syntax.py), checked against the schema (check.py), and
then has one meaning with two ways to evaluate it: on one profile in memory (predicate.py) and over the whole store in
SQL (query.py, sql.py and a file a database). values.py and moments.py decide what values mean; reads.py, which changes
concern which rules.

What the language is, reference/pql.md says. What it leaves open:

- A condition is so or it is not; there is no third truth. Whatever is asked of a value that is missing (null), or that
  is of another kind than the rule expects, is not so: also ``!=``, ``not in`` and ``doesNotContain``. ``not (…)`` turns
  that round: without a country, ``not (country = "KR")`` is so and ``country != "KR"`` is not.
- A field is compared as whatever the rule compares it with. Two fields are compared when both hold texts, numbers, or
  true or false; only ``=`` and ``!=`` go for the latter.
- ``field in ["x", "y"]``: constants of one kind. ``"x" in field``: a list of the profile.
- A field alone is a condition: it holds ``true``.
- ``identityMap.get("Email")`` is a list of ``{"id": "…"}``: ask it with ``exists``.
- In texts a backslash makes a quotation mark or another backslash part of the text; any other backslash is itself.
"""

from profiles.pql.check import Schema
from profiles.pql.errors import PQLError
from profiles.pql.predicate import Predicate, Subject
from profiles.pql.query import Candidates
from profiles.pql.reads import Concerned, Index
from profiles.pql.rule import Rule, parse
from profiles.pql.values import namespace_key

__all__ = [
    "Candidates",
    "Concerned",
    "Index",
    "PQLError",
    "Predicate",
    "Rule",
    "Schema",
    "Subject",
    "namespace_key",
    "parse",
]
