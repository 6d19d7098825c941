"""The command line that the scripts of this folder share; it imports nothing heavy, so `--help` answers at once."""

from __future__ import annotations

import argparse
import sys

QUICK = "--quick" in sys.argv  # read before any parser: sizes are constants of their modules


def parser(doc: str | None, quick: bool = True) -> argparse.ArgumentParser:
    """A parser whose help is the script's docstring, with `--quick` for those that have tiny sizes."""
    made = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    if quick:
        made.add_argument(
            "--quick", action="store_true", help="tiny sizes, to see that it works; keeps nothing"
        )
    return made
