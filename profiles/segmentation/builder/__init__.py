"""The rule builder: a rule as a form, so that nobody has to type PQL.

It is a view of the rule's tree and no language of its own. *Parts* (parts.py), groups and rows, are what the form
says, finished or not. tree.py makes parts of a tree, and conditions of rows; forms.py are their HTML forms, and reads
parts from what is posted; operators.py is the table of what can be asked of which type; changes.py are the buttons.
Each exchange posts the whole form and gets it back changed: nothing is kept between two of them (bench.py).

What the builder can't show, arithmetic for example, stays a text: :class:`TooRich`.
"""

from profiles.segmentation.builder.bench import Bench
from profiles.segmentation.builder.sources import Sources
from profiles.segmentation.builder.tree import TooRich

__all__ = ["Bench", "Sources", "TooRich"]
