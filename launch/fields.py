"""List the fields of a config with their names, defaults, allowed values and meanings.

    tapjax fields credit

Without a family, the script lists the fields that every run has, and then those of each family.
"""

import sys

from absl import flags

from launch.flags import main
from tapjax.config import document

MARKDOWN = flags.DEFINE_bool("markdown", False, "Print the page docs/fields.md.")


def body(*families: str) -> int:
    """Print the table of one family or of all families.

    Args:
      *families: name of one family; none for all families.

    Returns:
      Exit code.
    """
    if len(families) > 1:
        print(f"error: unexpected argument {families[1]!r}", file=sys.stderr)
        return 2
    if MARKDOWN.value:
        print(document.markdown(), end="")
    else:
        print(document.text(families[0] if families else ""))
    return 0


if __name__ == "__main__":
    main(body, "[FAMILY]")
