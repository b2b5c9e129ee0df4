"""One self-contained page of a template, a style and a script: nothing is fetched from anywhere else."""

from pathlib import Path

from rung.report import content_hash

BASE_STYLE = Path(__file__).parent / "base.css"


def load_page(folder: Path) -> tuple[str, dict[str, str]]:
    """(HTML, headers) of ``folder``'s page.html, page.css (after the base style) and page.js.

    The policy in the headers lets only this style and this script act, and lets them talk to this server alone, so
    that nothing a model or an annotator wrote can run, should it ever be put into the page as markup.
    """
    template, own_style, script = (
        (folder / f"page.{kind}").read_text(encoding="utf-8") for kind in ("html", "css", "js")
    )
    style = BASE_STYLE.read_text(encoding="utf-8") + own_style
    page = template.replace("{{ style }}", style).replace("{{ script }}", script)
    policy = (
        f"default-src 'none'; style-src '{content_hash(style)}'; script-src '{content_hash(script)}'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    headers = {"content-security-policy": policy, "x-content-type-options": "nosniff"}
    return page, headers | {"referrer-policy": "no-referrer", "cache-control": "no-cache"}
