"""Templates of the report, and figures in its page that follow light and dark."""

import base64
import colorsys
import json
import re
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from .. import markup

COLOUR = re.compile(r"#[0-9a-f]{6}\b")
WRITERS = {"html": markup.html, "md": markup.markdown}  # by the ending of a template, without .j2


def render(name, **content):
    """The text of a template; in Markdown two blank lines mean no more than one."""
    text = template(name).render(content).lstrip()
    return re.sub(r"\n{3,}", "\n\n", text) if name.endswith(".md.j2") else text


def template(name):
    """index.html.j2, report.md.j2 and explorer.html.j2; what the first two share is in show.html.j2 and show.md.j2."""
    return _environment(name.removesuffix(".j2").rpartition(".")[2]).get_template(name)


@cache
def _environment(kind):
    """Whatever a template shows is written as text of its language, but for what is marked as such already."""

    def write(value):
        return Markup(WRITERS[kind](value)) if isinstance(value, str) and not isinstance(value, Markup) else value

    made = Environment(
        loader=PackageLoader("analysis.report"), autoescape=True, finalize=write, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    made.filters |= {
        "fenced": lambda text: Markup(markup.fenced(text, "sh")),
        "held": held,
        "inline": inline_svg,
        "json": lambda text: Markup(json.dumps(markup.visible(text), ensure_ascii=False)),  # which YAML reads
    }
    return made


def held(text, kind="text/csv"):
    """The address of a file that the page itself holds."""
    return f"data:{kind};base64,{base64.b64encode(text.encode()).decode()}"


def inline_svg(svg, name, alt):
    """A figure's SVG for the page: ids made unique, colours made variables that dark mode redefines."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.S)
    svg = re.sub(r"<style[^>]*>.*?</style>", "", svg, flags=re.S)
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = svg.replace('href="#', f'href="#{name}-').replace("url(#", f"url(#{name}-")
    svg = re.sub(r"(style=\"[^\"]*\")", lambda style: COLOUR.sub(_variable, style.group(1)), svg)
    # The full text width of 7.2 inches fills the page's column of 54 rem; narrower figures keep their type size.
    opening, rest = svg.split(">", 1)
    points = float(re.search(r'\swidth="([\d.]+)pt"', opening).group(1))
    size = f"max-width: {points / 518.4 * 54:.1f}rem; min-width: {points / 518.4 * 36:.1f}rem"
    opening = re.sub(r'\s(width|height)="[^"]*"', "", opening)
    return Markup(f'{opening} style="{size}" role="img" aria-label="{markup.html(alt)}" stroke-linejoin="round">{rest}')


def _variable(match):
    colour = match.group(0)
    return "var(--paper)" if colour == "#ffffff" else f"var(--c{colour[1:]},{colour})"


def dark_colours(svgs):
    """Style rules that redefine every colour of these figures for a dark page."""
    used = sorted({colour for svg in svgs for colour in COLOUR.findall(svg)} - {"#ffffff"})
    rules = " ".join(f"--c{colour[1:]}: {dark(colour)};" for colour in used)
    return Markup("@media (prefers-color-scheme: dark) { :root { " + rules + " } }")


def dark(colour):
    """The colour for a dark background: greys inverted, others lightened, order of lightness kept."""
    red, green, blue = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    hue, lightness, saturation = colorsys.rgb_to_hls(red, green, blue)
    if max(red, green, blue) - min(red, green, blue) < 0.1:
        lightness = 1 - 0.9 * lightness
    else:
        lightness = 0.33 + 0.67 * lightness  # three times the paper's luminance, neighbours of a ramp well apart
    return "#" + "".join(f"{round(255 * part):02x}" for part in colorsys.hls_to_rgb(hue, lightness, saturation))
