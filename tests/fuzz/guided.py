"""One harness under atheris, which looks for inputs that reach new code. For `run`, in a process of its own.

usage: python -m fuzz.guided HARNESS|every [libFuzzer's arguments]
"""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["vusniff", "vusniff_dissectors"]):
    import vusniff.checks.checker
    import vusniff.checks.table  # noqa: F401 (the program imports both late)
    from fuzz.harnesses import every, harness_of, within_time

if __name__ == "__main__":
    name = sys.argv[1]
    chosen = None if name == "every" else harness_of(name)
    atheris.Setup([name, *sys.argv[2:]], every if chosen is None else lambda data: within_time(chosen, data))
    atheris.Fuzz()
