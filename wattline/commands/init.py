"""`wattline init`: write a first facility file."""

from __future__ import annotations

from pathlib import Path

import click

from schemas.errors import ConfigurationError
from wattline.scales import FIRST


@click.command()
@click.argument("file", type=click.Path(path_type=Path), default="facility.toml")
def command(file: Path) -> None:
    """Write a first, small facility to FILE (facility.toml) to be changed; never overwrites one."""
    try:
        with file.open("x", encoding="utf-8") as out:
            out.write(FIRST.read_text(encoding="utf-8"))
    except FileExistsError:
        raise ConfigurationError(f"{file} is there already and stays as it is; name another file") from None
    except OSError as error:
        raise ConfigurationError(f"{file}: {error.strerror}; name a file that can be written") from error
    click.echo(f"wrote {file}; change it, then run: wattline check {file}")
