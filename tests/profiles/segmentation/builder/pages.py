"""What a browser would send of a page: the successful controls of its form."""

from __future__ import annotations

from html.parser import HTMLParser


class Form(HTMLParser):
    """``data``: names and values of the form's controls. ``buttons``: what the submit buttons say, by their texts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.data: dict[str, str] = {}
        self.buttons: set[str] = set()
        self.focus: list[str] = []
        self._select = self._textarea = ""
        self._chosen = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        said = {key: value or "" for key, value in attrs}
        name = said.get("name", "")
        if "autofocus" in said:
            self.focus.append(said.get("id", tag))
        if tag == "button" and name == "do":
            self.buttons.add(said["value"])
        elif tag == "textarea":
            self._textarea, self.data[name] = name, ""
        elif tag == "select":
            self._select, self._chosen = name, False
        elif tag == "option" and self._select and ("selected" in said or self._select not in self.data):
            assert not self._chosen, f"{self._select} has two choices"
            self._chosen = "selected" in said
            self.data[self._select] = said["value"]
        elif tag == "input" and name and said.get("type") == "checkbox":
            if "checked" in said:
                self.data[name] = said.get("value", "on")
        elif tag == "input" and name:
            value = said.get("value", "")
            hidden = said.get("type") == "hidden"
            self.data[name] = value if hidden else value.replace("\r", "").replace("\n", "")

    def handle_data(self, data: str) -> None:
        if self._textarea:
            self.data[self._textarea] += data

    def handle_endtag(self, tag: str) -> None:
        if tag == "textarea":
            self.data[self._textarea] = self.data[self._textarea].removeprefix("\n").replace("\n", "\r\n")
            self._textarea = ""
        elif tag == "select":
            self._select = ""
