"""The templates of the pages; a value that is not given is an error."""

from functools import cache
from typing import TYPE_CHECKING, Any

from ppacer.ui.filters import FILTERS
from ppacer.ui.static import asset
from ppacer.version import VERSION

if TYPE_CHECKING:
    from jinja2 import Environment


def render(template: str, **values: Any) -> str:
    """A page."""
    return _environment().get_template(template).render(**values)


@cache
def _environment() -> "Environment":
    from jinja2 import Environment, PackageLoader, StrictUndefined  # a tenth of the time to start, for later

    environment = Environment(
        loader=PackageLoader("ppacer.ui"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {function.__name__: function for function in FILTERS}
    environment.globals |= {"asset": asset, "version": VERSION}
    return environment
