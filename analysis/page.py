"""The self-contained page: template, style sheet, and figures that follow light and dark."""

import base64
import colorsys
import re
from string import Template

from . import markup

PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>$title</title>
<style>
$style
</style>
</head>
<body>
<header>
<h1>$heading</h1>
<p class="lead">$lead</p>
</header>
<section class="opening" id="opening">
$opening
</section>
<nav aria-label="Contents"><details><summary>Contents</summary><ol>
$contents
</ol></details></nav>
<main>
$body
</main>
<dialog id="zoom" aria-label="Figure, enlarged"><button type="button" autofocus>close</button><div></div></dialog>
<script>
const dialog = document.getElementById("zoom");
const enlarge = plot => {
  dialog.lastElementChild.replaceChildren(plot.querySelector("svg").cloneNode(true));
  dialog.showModal();
};
document.querySelectorAll(".plot").forEach(plot => {
  plot.addEventListener("click", () => enlarge(plot));
  plot.addEventListener("keydown", event => { if (event.key === "Enter") enlarge(plot); });
});
dialog.addEventListener("click", event => {
  if (event.target === dialog || event.target.tagName === "BUTTON") dialog.close();
});
// What is wider than the screen fades at its right edge until it is scrolled to the end.
document.querySelectorAll(".plot, .table").forEach(box => {
  const look = () => box.classList.toggle("more", box.scrollWidth - box.clientWidth - box.scrollLeft > 4);
  box.addEventListener("scroll", look, { passive: true });
  new ResizeObserver(look).observe(box);
});
document.querySelector("nav details").open = matchMedia("(min-width: 82rem)").matches;
const unfold = () => {
  const there = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  for (let box = there; box; box = box.parentElement) if (box.tagName === "DETAILS") box.open = true;
  if (there) there.scrollIntoView();
};
addEventListener("hashchange", unfold);
unfold();
</script>
</body>
</html>
""")

STYLE = """
:root { --paper: #ffffff; --ink: #1b1f24; --soft: #59606a; --line: #d9dde2; --tint: #f4f6f8; --link: #0b5cad;
  --yes: #0b6e4f; --no: #a4262c; --open: #6b5b00; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #15181c; --ink: #e4e7eb; --soft: #a3abb5; --line: #353b43; --tint: #1e2329; --link: #7cb7f2;
    --yes: #6fd3ac; --no: #f2938f; --open: #e0c860; }
}
* { box-sizing: border-box; }
html { scroll-behavior: smooth; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif;
  display: grid; grid-template-columns: minmax(0, 1fr); padding: 0 1rem; }
header, .opening, main, nav, footer { width: 100%; max-width: 54rem; margin: 0 auto; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 1.6rem 0 .4rem; text-wrap: balance;
  overflow-wrap: anywhere; }
h2 { font-size: 1.25rem; margin: 2.4rem 0 .4rem; scroll-margin-top: 1rem; }
h3 { font-size: 1.05rem; margin: 1.8rem 0 .3rem; scroll-margin-top: 1rem; }
h4 { font-size: 1rem; margin: 1.2rem 0 .2rem; }
p, li { overflow-wrap: anywhere; max-width: 46rem; }
.lead { color: var(--soft); margin-top: 0; }
a { color: var(--link); }
nav { font-size: .9rem; }
nav summary { cursor: pointer; color: var(--soft); }
nav ol { padding-left: 1.4rem; margin: .3rem 0; }
nav ol ol { padding-left: .9rem; list-style: none; }
nav a { text-decoration: none; }
.note { border-left: 4px solid var(--open); background: var(--tint); padding: .4rem .9rem; margin: .6rem 0; }
.seen { padding-left: 1.2rem; margin: .8rem 0; }
.seen li { margin: .35rem 0; }
.fold > summary { cursor: pointer; margin: 1rem 0 .3rem; }
.fold > summary h2 { display: inline; }
details.rest { color: var(--soft); font-size: .88rem; max-width: 46rem; }
details.rest summary { cursor: pointer; }
dt { font-weight: 600; } dd { margin: 0 0 .5rem 1rem; max-width: 45rem; }
figure { margin: 1rem 0; }
.opening figure { margin: .6rem 0; }
.plot { overflow-x: auto; cursor: zoom-in; border: 1px solid var(--line); border-radius: 6px; padding: .5rem;
  background: var(--paper); }
.plot svg { display: block; width: 100%; height: auto; margin: 0 auto; }
figcaption, .caption { color: var(--soft); font-size: .88rem; margin-top: .4rem; max-width: 46rem; }
.files { font-size: .85rem; }
.files a { margin-right: .8rem; }
.plot:focus-visible { outline: 2px solid var(--link); }
.hint { display: none; color: var(--soft); font-size: .82rem; margin: .2rem 0 0; }
.more { -webkit-mask-image: linear-gradient(to right, #000 calc(100% - 4rem), #0002);
  mask-image: linear-gradient(to right, #000 calc(100% - 4rem), #0002); }
.more + .hint { display: block; }
.table { overflow-x: auto; }
table { border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums; margin: .6rem 0; }
th, td { padding: .25rem .6rem; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--line); }
th:first-child, td:first-child { text-align: left; }
thead th { border-bottom: 2px solid var(--line); }
.verdict { border-left: 4px solid var(--line); background: var(--tint); padding: .6rem .9rem; margin: .8rem 0;
  border-radius: 0 6px 6px 0; }
.verdict p { margin: .3rem 0; }
.verdict details { color: var(--soft); font-size: .88rem; }
.verdict summary { cursor: pointer; }
.verdict strong.shown { color: var(--yes); } .verdict strong.contrary-shown { color: var(--no); }
  .verdict strong.undecided { color: var(--open); }
.refused { border: 1px dashed var(--soft); border-radius: 6px; padding: .5rem .9rem; color: var(--soft); }
pre { background: var(--tint); padding: .6rem .8rem; overflow-x: auto; border-radius: 6px; font-size: .8rem;
  white-space: pre; }
footer { color: var(--soft); font-size: .85rem; border-top: 1px solid var(--line); margin-top: 3rem;
  padding: 1rem 0 3rem; }
dialog { width: 96vw; height: 94vh; max-width: none; max-height: none; border: 1px solid var(--line);
  background: var(--paper); color: var(--ink); padding: 2.4rem .6rem .6rem; overflow: auto; }
dialog::backdrop { background: rgb(0 0 0 / .6); }
dialog svg { display: block; width: max(100%, 62rem); height: auto; max-width: none !important; }
dialog button { position: fixed; right: 3.5vw; top: 4vh; font: inherit; }
@media (min-width: 82rem) {
  body { grid-template-columns: 15rem minmax(0, 54rem); column-gap: 3rem; justify-content: center; }
  header, .opening, main, footer { grid-column: 2; }
  nav { grid-column: 1; grid-row: 1 / span 4; position: sticky; top: 1rem; align-self: start; margin-top: 1.6rem;
  max-height: 96vh; overflow: auto; }
}
@media (max-width: 40rem) { h1 { font-size: 1.4rem; margin-top: 1rem; } .plot { padding: .2rem; } }
@media print { nav, .files { display: none; } }
"""

HINT = '<p class="hint" aria-hidden="true">wider than the screen: scroll sideways →</p>'
COLOUR = re.compile(r"#[0-9a-f]{6}\b")


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
    return f'{opening} style="{size}" role="img" aria-label="{markup.html(alt)}" stroke-linejoin="round">{rest}'


def _variable(match):
    colour = match.group(0)
    return "var(--paper)" if colour == "#ffffff" else f"var(--c{colour[1:]},{colour})"


def dark_colours(body):
    """Style rules that redefine every figure colour used in `body` for a dark page."""
    used = sorted(set(re.findall(r"var\(--c([0-9a-f]{6})", body)))
    rules = " ".join(f"--c{colour}: {dark('#' + colour)};" for colour in used)
    return "@media (prefers-color-scheme: dark) { :root { " + rules + " } }"


def dark(colour):
    """The colour for a dark background: greys inverted, others lightened, order of lightness kept."""
    red, green, blue = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    hue, lightness, saturation = colorsys.rgb_to_hls(red, green, blue)
    if max(red, green, blue) - min(red, green, blue) < 0.1:
        lightness = 1 - 0.9 * lightness
    else:
        lightness = 0.33 + 0.67 * lightness  # three times the paper's luminance, neighbours of a ramp well apart
    return "#" + "".join(f"{round(255 * part):02x}" for part in colorsys.hls_to_rgb(hue, lightness, saturation))


def plot(svg, name, title):
    """A figure that scrolls where it is wider than the screen, and is enlarged by a click or Enter."""
    return (
        f'<div class="plot" tabindex="0" role="button" aria-label="Enlarge: {markup.html(title)}">'
        f"{inline_svg(svg, name, title)}</div>{HINT}"
    )


def text(words):
    """Escaped, and the groups of a long number kept on one line."""
    return re.sub(r"(?<=\d) (?=\d{3}\b)", "\N{NO-BREAK SPACE}", markup.html(words))


def split(caption, most=2):
    """(the first sentences, the rest) of a caption: what is drawn and what to see, and what few need."""
    parts = re.split(r"(?<=[.!?]) (?=[A-ZΑ-Ω“])", caption)
    return " ".join(parts[:most]), " ".join(parts[most:])


def rest(text, summary="more"):
    return f'<details class="rest"><summary>{summary}</summary><p>{markup.html(text)}</p></details>' if text else ""


def download(label, filename, text, kind="text/csv"):
    """A link that holds the file itself, so that it works from the page alone."""
    data = base64.b64encode(text.encode()).decode()
    return f'<a download="{filename}" href="data:{kind};base64,{data}">{label}</a>'


def table(frame):
    """An HTML table of a frame already formatted as text."""
    head = "".join(f"<th>{markup.html(column)}</th>" for column in frame.columns)
    rows = "".join(
        "<tr>" + "".join(f"<td>{markup.html(cell)}</td>" for cell in row) + "</tr>"
        for row in frame.itertuples(index=False)
    )
    body = f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
    return f'<div class="table" tabindex="0">{body}</div>{HINT}'
