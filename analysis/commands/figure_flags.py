"""Flags that set the format and the width of the figures of a command."""

from analysis.figures.style import FORMATS, WIDTHS, look


def add_figure_flags(parser, width: str = "page") -> None:
    """Add the flags --format and --width to the parser of a command, with a default width."""
    parser.add_argument("--format", choices=FORMATS, default="png", help="format of the figures")
    parser.add_argument(
        "--width", choices=list(WIDTHS), default=width,
        help="largest width of the figures: 10 inches, or two or one columns of a paper",
    )  # fmt: skip


def look_of(args):
    """Return the context in which the figures of a command have the look that its flags set."""
    return look(args.format, args.width)
