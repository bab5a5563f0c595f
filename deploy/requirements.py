"""Prints what pyproject.toml says that Enlarger needs, with the extras that are named.

So images install dependencies before, and apart from, the code.
"""

import sys
import tomllib
from pathlib import Path

project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
extras = [project["optional-dependencies"][name] for name in sys.argv[1:]]
sys.stdout.writelines(f"{line}\n" for line in sum(extras, project["dependencies"]))
