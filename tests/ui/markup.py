"""A page as a tree, so that tests can ask it what a person would look for."""

from collections.abc import Iterator
from html.parser import HTMLParser

VOID = {"meta", "link", "br", "wbr", "img", "input", "hr"}


class Element:
    """One element with its attributes, children and texts."""

    def __init__(self, name: str, attributes: dict[str, str], parent: "Element | None") -> None:
        self.name, self.attributes, self.parent = name, attributes, parent
        self.content: list[Element | str] = []

    def __getitem__(self, name: str) -> str:
        return self.attributes[name]

    @property
    def text(self) -> str:
        """All text inside, with single spaces."""
        return " ".join(self._text().split())

    def _text(self) -> str:
        inner = (part if isinstance(part, str) else part._text() for part in self.content)
        return "".join(inner) + ("\n" if self.name in ("td", "th", "tr", "p", "time") else "")

    @property
    def classes(self) -> set[str]:
        return set(self.attributes.get("class", "").split())

    def walk(self) -> "Iterator[Element]":
        """This element and all below, in the order of the page."""
        yield self
        for part in self.content:
            if isinstance(part, Element):
                yield from part.walk()

    def all(self, name: str, /, **attributes: str) -> "list[Element]":
        """All elements with this name and these attributes, here and below; `class_` is one of many."""
        wanted = attributes.pop("class_", None)
        return [
            element
            for element in self.walk()
            if element.name == name
            and (wanted is None or wanted in element.classes)
            and all(element.attributes.get(key) == value for key, value in attributes.items())
        ]

    def one(self, name: str, /, **attributes: str) -> "Element":
        """The only such element."""
        [element] = self.all(name, **attributes)
        return element


class _Builder(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.root = self.at = Element("document", {}, None)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, {name: value or "" for name, value in attrs}, self.at)
        assert len(element.attributes) == len(attrs), f"an attribute of {tag} stands twice"
        self.at.content.append(element)
        if tag not in VOID:
            self.at = element

    def handle_endtag(self, tag: str) -> None:
        assert self.at.name == tag, f"</{tag}> closes <{self.at.name}>"
        assert self.at.parent is not None
        self.at = self.at.parent

    def handle_data(self, data: str) -> None:
        self.at.content.append(data)


def parse(html: str) -> Element:
    """The tree; AssertionError when the page is not well-formed."""
    builder = _Builder()
    builder.feed(html)
    builder.close()
    assert builder.at is builder.root, f"<{builder.at.name}> is not closed"
    return builder.root
