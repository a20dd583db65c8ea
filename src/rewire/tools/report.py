"""One HTML page of a profile's results that opens from a file, without a network.

rewire report outputs/quick: both documents with their tables, curves and
matrices, as far as they were run, in outputs/report/index.html.
"""

from __future__ import annotations

import argparse
import webbrowser
from pathlib import Path

from rewire.errors import InputError

PAGE = Path("report") / "index.html"  # beside the profile's folder


def make_report(source: Path, target: Path) -> Path:
    """Write the report of `source`, the outputs of one profile, to the file `target`.

    Raises:
        InputError: if nothing was trained there, or the folder has the name of no profile.
    """
    from rewire.files import writable_folder, write_text
    from rewire.reporting.html.page import render_report

    text = render_report(read_report(source))
    writable_folder(target.parent)
    write_text(target, text)
    return target


def read_report(source: Path):
    """What the report of `source` shows, a `rewire.reporting.html.model.Report`."""
    from rewire.article.report.chapter import read_article
    from rewire.pipeline.profiles import profile_of
    from rewire.pipeline.state import read_state, stage_runs, warnings
    from rewire.reporting.html.model import Report
    from rewire.thesis.document import THESIS
    from rewire.thesis.report.chapter import read_thesis

    if not source.is_dir():
        raise InputError(f"there is no folder '{source}'. Allowed: a profile's outputs.")
    state = read_state(source, profile_of(source, THESIS).name)
    thesis, article = read_thesis(state), read_article(state)
    if thesis is None and article is None:
        raise InputError(
            f"no finished training in '{source}'. Allowed: a profile's outputs, such as "
            "outputs/quick after `make repro`."
        )
    runs, versions = stage_runs(state)
    return Report(
        profile=state.profile,
        source=source.as_posix(),
        thesis=thesis,
        article=article,
        runs=runs,
        versions=versions,
        warnings=tuple(warnings(state)),
    )


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="rewire report",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "source", type=Path, nargs="+", help="outputs of one profile: outputs/quick"
    )
    parser.add_argument("--target", type=Path, help="file to write (default: ../report/index.html)")
    parser.add_argument("--open", action="store_true", help="show it in the browser")
    chosen = parser.parse_args(arguments)
    if len(chosen.source) > 1:
        raise InputError(
            f"{len(chosen.source)} folders: {', '.join(map(str, chosen.source))}. Allowed: one, "
            "as numbers of several profiles cannot be compared."
        )
    source = chosen.source[0]
    page = make_report(source, chosen.target or source.parent / PAGE)
    print(f"wrote {page}")
    if chosen.open:
        webbrowser.open(page.resolve().as_uri())
