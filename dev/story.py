"""Tell a story of questions and answers, on the terminal and as one page."""

import base64
import html
import sys
from dataclasses import dataclass, field

# A heading, and rows of cells, the first of which has the names of columns.
Table = tuple[str, list[list[str]]]

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #212529; max-width: 60rem; margin: 2rem auto;
  padding: 0 1rem; }
h1 { font-size: 1.9rem; } h2 { font-size: 1.35rem; margin-top: 3rem; }
img { max-width: 100%; max-height: 44rem; border: 1px solid #dee2e6; }
div { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; font-size: .85rem; }
th, td { text-align: left; padding: .25rem .75rem .25rem 0; border-bottom: 1px solid #dee2e6;
  white-space: nowrap; }
.answer { font-size: 1.1rem; font-weight: 600; }
footer { margin: 3rem 0; color: #495057; font-size: .85rem; }
"""


@dataclass
class Chapter:
    """A question, the sentence that answers it, and what shows it: tables, and a picture (PNG).

    A table may have a heading of its own. `files` are complete outputs, by name.
    """

    question: str
    answer: str = ""
    tables: list[Table] = field(default_factory=list)
    picture: bytes | None = None
    files: dict[str, bytes] = field(default_factory=dict)

    def rows(self, table: str) -> list[list[str]]:
        """The rows of one of the files, of which the first has the names of columns."""
        lines = self.files[table].decode().rstrip("\n").split("\n")
        return [line.removeprefix("#").split("\t") for line in lines]

    def column(self, table: str, name: str) -> list[str]:
        header, *rows = self.rows(table)
        return [row[header.index(name)] for row in rows]

    def show(
        self, table: str, columns: list[str], names: list[str] | None = None, heading: str = ""
    ) -> None:
        """Show some columns of one of the files; if names are given, their rows in this order."""
        rows = self.rows(table)
        chosen = [rows[0].index(column) for column in columns]
        if names:
            rows = [rows[0], *(row for name in names for row in rows[1:] if row[0] == name)]
        self.tables.append((heading, [[row[column] for column in chosen] for row in rows]))

    def print(self) -> None:
        print(f"\n{self.question}\n\n  {self.answer}")
        for heading, rows in self.tables:
            print(f"\n{heading}" if heading else "")
            if heading:
                print()
            widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
            for row in [rows[0], ["-" * width for width in widths], *rows[1:]]:
                cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
                print("  " + "  ".join(cells).rstrip())
        sys.stdout.flush()


def page(title: str, introduction: str, chapters: list[Chapter], end: str) -> str:
    """A story as one HTML page, which needs no other file."""
    parts = [
        f"<!DOCTYPE html><html lang=en><meta charset=utf-8><title>{html.escape(title)}</title>",
        f"<meta name=viewport content='width=device-width'><style>{STYLE}</style>",
        f"<h1>{html.escape(title)}</h1><p>{html.escape(introduction)}</p>",
    ]
    for chapter in chapters:
        parts.append(f"<h2>{html.escape(chapter.question)}</h2>")
        parts.append(f"<p class=answer>{html.escape(chapter.answer)}</p>")
        if chapter.picture:
            data = base64.b64encode(chapter.picture).decode()
            alternative = html.escape(chapter.answer, quote=True)
            parts.append(f'<img alt="{alternative}" src="data:image/png;base64,{data}">')
        parts += [part for table in chapter.tables for part in table_of(*table)]
    parts.append(f"<footer>{html.escape(end)}</footer></html>")
    return "\n".join(parts)


def table_of(heading: str, rows: list[list[str]]) -> list[str]:
    lines = [
        "<tr>" + "".join(f"<{cell}>{html.escape(text)}</{cell}>" for text in row) + "</tr>"
        for row, cell in zip(rows, ["th"] + ["td"] * (len(rows) - 1), strict=True)
    ]
    return [f"<h3>{html.escape(heading)}</h3>"] * bool(heading) + [
        f"<div><table>{''.join(lines)}</table></div>"
    ]
