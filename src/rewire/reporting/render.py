"""A filled table as Markdown, LaTeX and CSV text. Missing cells say so; none is left blank."""

from __future__ import annotations

from collections.abc import Sequence

from rewire.files import GAP, csv_text
from rewire.reporting.table import (
    COMPARABLE_PROFILE,
    DIFFERS,
    NOT_RUN,
    OUTDATED,
    ROBUST,
    WITHIN,
    Cell,
    Table,
)

NOT_AUDITED = "not audited"
DAGGER = "†"  # behind a number whose examination raised flags

_MARKS = {WITHIN: " ✓", DIFFERS: " ✗"}
_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "×": r"$\times$",
    "±": r"$\pm$",
    "−": r"$-$",
    "β": r"$\beta$",
    "ε": r"$\epsilon$",
    "∞": r"$\infty$",
    DAGGER: r"$\dagger$",
}


def to_markdown(table: Table) -> str:
    """Title, the profile in words, the table, and how to read it."""
    spec = table.spec
    header = [spec.unit, *spec.columns.values()]
    body = [
        [row.label, *(_markdown_cell(cell, table) for cell in cells)]
        for row, cells in zip(spec.rows, table.rows(), strict=True)
    ]
    lines = [
        f"# {spec.title}",
        "",
        f"**{note_of(table)}**",
        "",
        *_aligned([[text.replace("|", r"\|") for text in line] for line in [header, *body]]),
        "",
        "How to read it:",
        "",
        *(f"- {line}" for line in [*explanation(table), *doubts(table)]),
        f"- Published values: {spec.source}.",
    ]
    return "\n".join(lines) + "\n"


def to_csv(table: Table) -> str:
    """One line per cell; without a number `ours` is "not run" or "outdated", other gaps are "n/a".

    `flags` are the reasons for doubt, "none" or "not audited"; "n/a" if it is no robust accuracy.
    """
    robust = {row.label for row in table.spec.rows if row.metric.startswith(ROBUST)}
    rows = []
    for cell in table.cells:
        ours = cell.verdict if cell.ours is None else cell.ours
        low, high = cell.ci95 or (None, None)
        numbers = [ours, low, high, cell.interval, cell.n, cell.published, cell.difference]
        tail = [cell.verdict, table.spec.unit, table.profile, _flags(cell, robust)]
        rows.append([cell.row, cell.column, *map(_plain, numbers), *tail])
    header = ["row", "column", "ours", "ci95_low", "ci95_high", "interval", "n", "published"]
    return csv_text([*header, "difference", "verdict", "unit", "profile", "flags"], rows)


def to_latex(table: Table) -> str:
    """A booktabs table; below every value of ours stand (published, difference)."""
    spec = table.spec
    header = " & ".join(escape_latex(text) for text in [spec.unit, *spec.columns.values()])
    body = []
    for row, cells in zip(spec.rows, table.rows(), strict=True):
        # A line that starts with "[" would be an argument of the line break before it.
        first = ["{}" + escape_latex(row.label), *(_latex_value(cell) for cell in cells)]
        second = ["", *(_latex_comparison(cell) for cell in cells)]
        body += [f"    {' & '.join(first)} \\\\", f"    {' & '.join(second)} \\\\"]
    notes = [note_of(table), *explanation(table, latex=True), *doubts(table)]
    notes.append(f"Published values: {spec.source}.")
    lines = [
        r"\begin{table}[t]",
        r"  \centering",
        r"  \small",
        f"  \\caption{{{escape_latex(spec.title)}. \\textbf{{{escape_latex(notes[0])}}}}}",
        f"  \\label{{tab:{spec.name}}}",
        f"  \\begin{{tabular}}{{l{'r' * len(spec.columns)}}}",
        r"    \toprule",
        f"    {header} \\\\",
        r"    \midrule",
        *body,
        r"    \bottomrule",
        r"  \end{tabular}",
        r"  \par\medskip",
        f"  {{\\footnotesize {escape_latex(' '.join(notes[1:]))}\\par}}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def escape_latex(text: str) -> str:
    """`text` with every character that LaTeX would interpret replaced."""
    return "".join(_LATEX.get(character, character) for character in text)


def decimals(cell: Cell) -> int:
    """Decimals worth printing: fewer for wide intervals, more for very small values."""
    if cell.ci95 and (cell.ci95[1] - cell.ci95[0]) / 2 >= 1:
        return 1
    return 3 if cell.ours is not None and 0 < abs(cell.ours) < 0.1 else 2


def note_of(table: Table) -> str:
    """The profile in words."""
    return table.note.strip().strip("*").strip() or f"Profile: {table.profile}."


def value_text(cell: Cell) -> str:
    """Ours as every table prints it, with a dagger if there is doubt."""
    if cell.ours is None:
        return cell.verdict
    return f"{cell.ours:z.{decimals(cell)}f}{DAGGER if cell.flags else ''}"


def interval_text(cell: Cell) -> str | None:
    """The 95 % interval in brackets, None if there is none."""
    if cell.ci95 is None:
        return None
    digits = decimals(cell)
    return f"[{cell.ci95[0]:z.{digits}f}, {cell.ci95[1]:z.{digits}f}]"


def difference_text(cell: Cell) -> str | None:
    """Ours - published with its sign, None if either is missing."""
    return None if cell.difference is None else f"{cell.difference:+z.{decimals(cell)}f}"


def _ours(cell: Cell) -> str:
    return " ".join(text for text in (value_text(cell), interval_text(cell)) if text)


def _comparison(cell: Cell) -> str:
    if cell.published is None:
        return "no published value"
    difference = difference_text(cell)
    return f"published {cell.published:g}" + (f", {difference}" if difference else "")


def _markdown_cell(cell: Cell, table: Table) -> str:
    seeds = f", n={cell.n}" if cell.n and _seeds_vary(table) else ""
    again = f": run `{cell.outdated[0]}`" if cell.verdict == OUTDATED else ""
    return f"{_ours(cell)}{again} ({_comparison(cell)}{seeds}){_MARKS.get(cell.verdict, '')}"


def _latex_value(cell: Cell) -> str:
    value = _ours(cell).replace("-", "$-$").replace(DAGGER, r"$^{\dagger}$")
    return value + (r"$^{*}$" if cell.verdict == DIFFERS else "")


def _latex_comparison(cell: Cell) -> str:
    if cell.published is None:
        return r"{\footnotesize (--)}"
    if cell.difference is None:
        return f"{{\\footnotesize ({cell.published:g})}}"
    return f"{{\\footnotesize ({cell.published:g}, ${difference_text(cell)}$)}}"


def _seeds_vary(table: Table) -> bool:
    return len({cell.n for cell in table.cells if cell.n}) > 1


def explanation(table: Table, *, latex: bool = False) -> list[str]:
    """Sentences on what a cell holds, its seeds, its interval and its verdict."""
    spec = table.spec
    counts = sorted({cell.n for cell in table.cells if cell.n})
    kinds = {cell.interval for cell in table.cells if cell.n}
    near = _amount(spec.tolerance, spec.unit)
    own = {spec.columns[column]: value for column, value in spec.tolerances.items()}
    own |= {row.label: row.tolerance for row in spec.rows if row.tolerance is not None}
    if own:
        each = [f"{header}: {_amount(value, spec.unit)}" for header, value in own.items()]
        near += f" ({', '.join(each)})"
    layout = "below (published, ours - published)" if latex else "(published, ours - published)"
    lines = [
        f"A cell is ours [95 % interval] {layout}, in {spec.unit}; {spec.direction} is better."
    ]
    if not counts:
        lines.append("Nothing has been run yet for this table.")
    elif len(counts) == 1:
        seeds = "one seed" if counts[0] == 1 else f"the mean over n = {counts[0]} seeds"
        lines.append(f"Ours is {seeds}.")
    else:
        lines.append(f"Ours is the mean over n = {counts[0]} to {counts[-1]} seeds.")
    if "seeds" in kinds:
        lines.append("Intervals of two or more seeds are Student-t over seeds.")
    agree = any(cell.n > 1 and cell.interval != "seeds" for cell in table.cells)
    one = "one seed, or of seeds that agree to the last digit," if agree else "one seed"
    if "images" in kinds:
        lines.append(f"Intervals of {one} are Wilson over test images, blind to training noise.")
    if None in kinds:
        lines.append(f"Without an interval: {one} of a quantity that is not counted over images.")
    if any(cell.verdict == NOT_RUN for cell in table.cells):
        lines.append(f"{NOT_RUN.capitalize()}: there is no result of this profile.")
    if table.profile != COMPARABLE_PROFILE:
        lines.append("Differences to published values are printed, not judged, at this profile.")
    elif latex:
        lines.append(f"* differs from the published value by more than {near}.")
    else:
        lines.append(f"✓ within {near} of the published value, ✗ differs by more.")
    return lines


def doubts(table: Table) -> list[str]:
    """What the examination of robust accuracies found, every reason once, and what it left out."""
    lines = [f"{DAGGER} {reason} ({_places(cells)})." for reason, cells in table.flagged().items()]
    # At other profiles the note on top says so.
    few = table.attacked_on_few() if table.profile == COMPARABLE_PROFILE else {}
    for images, cells in few.items():
        lines.append(f"Attacked on {images:,} images only: {_places(cells)}.")
    if cells := table.not_audited():
        lines.append(f"{NOT_AUDITED.capitalize()}: {_places(cells)}.")
    for images, cells in table.examined_on_few().items():
        lines.append(f"Sanity checks looked at {images} images only: {_places(cells)}.")
    if commands := dict.fromkeys(c for cell in table.cells for c in cell.outdated):
        lines.append(
            f"{OUTDATED.capitalize()}, hence left out: results of other networks than those that "
            f"are there. Run {'; '.join(commands)}."
        )
    return lines


def _places(cells: Sequence[Cell]) -> str:
    return "; ".join(f"{cell.row}, {cell.column}" for cell in cells)


def _flags(cell: Cell, robust_rows: set[str]) -> str:
    if cell.flags is None:
        return NOT_AUDITED
    if cell.flags:
        return "; ".join(cell.flags)
    return "none" if cell.row in robust_rows and cell.n else GAP


def _amount(value: float, unit: str) -> str:
    if unit != "%":
        return f"{value:g} {unit}"
    return f"{value:g} {'point' if value == 1 else 'points'}"


def _plain(value: float | str | None) -> int | str | None:
    return f"{round(value, 6):z.6g}" if isinstance(value, float) else value


def _aligned(lines: Sequence[Sequence[str]]) -> list[str]:
    """Markdown rows padded to equal widths; the first line is the header."""
    widths = [max(3, *(len(line[i]) for line in lines)) for i in range(len(lines[0]))]
    rows = [
        "| "
        + " | ".join(text.ljust(width) for text, width in zip(line, widths, strict=True))
        + " |"
        for line in lines
    ]
    return [rows[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *rows[1:]]
