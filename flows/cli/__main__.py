"""`python -m flows.cli` is `hanclip`."""

from flows.cli import main

main()
