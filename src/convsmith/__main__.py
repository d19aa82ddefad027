"""`python -m convsmith`."""

from convsmith.cli import main

main()
