"""`python -m mercato`, the same as the `mercato` command."""

from mercato.cli.app import main

if __name__ == "__main__":
    main()
