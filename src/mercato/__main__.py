"""`python -m mercato`, the same as the `mercato` command."""

import sys


def main() -> None:
    """Runs a command; `serve` alone does not import what commands need: seven processes pay."""
    if sys.argv[1:2] == ["serve"] and len(sys.argv) == 3:
        from mercato.cli.service import main as serve

        serve(sys.argv[2])
    else:
        from mercato.cli.app import main as command

        command()


if __name__ == "__main__":
    main()
