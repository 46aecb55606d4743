"""`python -m kerastransfer`: runs the console script."""

from kerastransfer.cli import main

if __name__ == "__main__":
    main()
