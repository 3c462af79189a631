"""Let `python -m wattline` be the same as the installed `wattline`."""

from wattline.cli import main

main()
