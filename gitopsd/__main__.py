"""`python -m gitopsd`."""

from gitopsd.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())
