"""The page's templates: everything that is put into one is escaped."""

from __future__ import annotations

import functools
from typing import Any

import jinja2
from markupsafe import Markup


@functools.cache
def environment() -> jinja2.Environment:
    """Return the templates, in `deploy/dashboard/pages`."""
    found = jinja2.Environment(
        loader=jinja2.PackageLoader("deploy.dashboard", "pages"), autoescape=True, undefined=jinja2.StrictUndefined
    )
    found.filters["nonced"] = _nonced
    return found


def render(name: str, /, **values: Any) -> str:
    """Return a template filled."""
    return environment().get_template(name).render(**values)


def _nonced(script: str, nonce: str) -> Markup:
    """Return Bokeh's own script elements, which hold no data, with the nonce the page's policy asks for."""
    return Markup(script.replace("<script", f'<script nonce="{nonce}"'))  # noqa: S704  of Bokeh, not of anybody's data
