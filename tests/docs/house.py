"""The table of the core's modules in CONTRIBUTING.md, from their own first lines; ``make house`` writes it anew."""

import ast
from pathlib import Path

from ..tracked import ROOT, core_modules

CONTRIBUTING = ROOT / "CONTRIBUTING.md"

BEGIN = "<!-- house: written by `make house` from the first line of each module -->\n"
END = "<!-- end of house -->\n"


def first_line(path: Path) -> str:
    """Return the first line of a module's docstring."""
    documentation = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    return (documentation or "").partition("\n")[0].replace("``", "`").replace("|", "\\|")


def table() -> str:
    """Return the table, one line per module."""
    lines = [f"| `{name}` | {first_line(ROOT / name)} |\n" for name in core_modules()]
    return "\n| file | what is in it |\n|---|---|\n" + "".join(lines) + "\n"


def written() -> str:
    """Return the table that stands in CONTRIBUTING.md."""
    text = CONTRIBUTING.read_text(encoding="utf-8")
    return text.partition(BEGIN)[2].partition(END)[0]


def main() -> None:
    """Write the table into CONTRIBUTING.md."""
    text = CONTRIBUTING.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    CONTRIBUTING.write_text(before + BEGIN + table() + END + after, encoding="utf-8")


if __name__ == "__main__":
    main()
