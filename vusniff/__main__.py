"""``python -m vusniff``; and by its path in isolated mode, which is how vusniff starts itself (`vusniff.child`)."""

import sys

if not __package__:
    # Nothing has been imported yet. An isolated interpreter looks only where it is installed; where else the parent
    # found its modules stands in front of the command. That comes before installed packages, as in the parent, but
    # not before the standard library.
    if not sys.flags.isolated:
        del sys.path[0]  # the folder of this file, whose modules are not meant to be found without their package
    _at = next((at for at, folder in enumerate(sys.path) if folder.endswith("-packages")), len(sys.path))
    while len(sys.argv) > 1 and sys.argv[1].startswith("--import-from="):
        sys.path.insert(_at, sys.argv.pop(1).partition("=")[2])
        _at += 1


def _run() -> int:
    if sys.argv[1:2] == ["extcap"]:  # no command for people: Wireshark calls it often, and does not wait for the others
        from vusniff.wireshark import extcap

        return extcap.main(sys.argv[2:])
    if sys.argv[1:2] == ["unwind"]:  # nor this: sources start it
        from vusniff.sources.stacks import worker

        return worker.main(sys.argv[2:])
    from vusniff.cli import main

    return main()


sys.exit(_run())
