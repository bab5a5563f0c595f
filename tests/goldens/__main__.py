"""Print every error of the given reference cases beside its tolerance; exit 1 if one is over."""

import argparse
import sys
from pathlib import Path

from tests.goldens.checks import MODELS, run


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.goldens", description=__doc__)
    parser.add_argument("model", choices=sorted(MODELS))
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    failed = False
    for file in arguments.files:
        print(file.name)  # noqa: T201
        for comparison in run(arguments.model, file):
            print(f"  {comparison}")  # noqa: T201
            failed |= not comparison.passed
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
