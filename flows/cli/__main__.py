"""`python -m flows.cli` is `hanclip`."""

from flows.cli.app import main

main()
