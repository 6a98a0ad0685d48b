"""``seqtutor score music FILE…``: which rules of melody one's own files break, bar by bar."""

from __future__ import annotations

import json
from pathlib import Path

import click

from seqtutor.domain import SeqtutorError, UsageError
from seqtutor.files import atomic
from seqtutor_music.keys import parse_key
from seqtutor_music.meter import parse_meter
from seqtutor_music.reading import music_files
from seqtutor_music.review import Review, review_file

BELOW = 3  # exit code of --fail-under


@click.command("music")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE…")
@click.option("--key", metavar="KEY", help="the key, e.g. 'D dorian', instead of the file's")
@click.option("--meter", metavar="METER", help="the metre, e.g. 6/8, instead of the file's")
@click.option("--track", metavar="N|NAME", help="the track or part that holds the melody  [default: the likeliest]")
@click.option("--json", "as_json", is_flag=True, help="JSON on stdout")
@click.option("--html", "html", type=click.Path(path_type=Path), metavar="FILE|FOLDER",
              help="a page with the score, its findings marked and playable; a folder for several")
@click.option("--fail-under", type=click.FloatRange(0, 1), metavar="X",
              help=f"exit {BELOW} when the quality (0 to 1) of a melody is below X")
@click.option("--quiet", is_flag=True, help="no warnings, no counts")
@click.pass_context
def command(ctx: click.Context, files: tuple[Path, ...], key: str | None, meter: str | None, track: str | None,
            as_json: bool, html: Path | None, fail_under: float | None, quiet: bool) -> None:
    """Score melodies: each rule beside what people do, and every place that breaks one.

    \b
    Examples:
      seqtutor score music my.mid
      seqtutor score music my.mid --key "E minor" --meter 3/4 --html my.html
      seqtutor score music songs/ --json > songs.json
      seqtutor score music my.mid --fail-under 0.9
    """
    # 1. What is asked for
    chosen_key = parse_key(key) if key is not None else None
    chosen_meter = parse_meter(meter) if meter is not None else None
    paths = [path for name in files for path in (music_files(name) if name.is_dir() else [name])]
    if html is not None and not html.parent.is_dir():
        raise UsageError(f"cannot write {html}: the folder {html.parent} does not exist; create it first")

    # 2. Read and judge; one bad file hides no other
    reviews: list[Review] = []
    errors: list[SeqtutorError] = []
    for path in paths:
        try:
            reviews += review_file(path, track=track, key=chosen_key, meter=chosen_meter)
        except SeqtutorError as error:
            if len(paths) == 1:
                raise
            errors.append(error)
            click.echo(f"seqtutor: {error}", err=True)
    for found in reviews:
        for warning in () if quiet else found.warnings:
            click.echo(f"{found.file}: {warning}", err=True)

    # 3. Out
    if as_json:
        click.echo(json.dumps([found.as_dict() for found in reviews], indent=1))
    else:
        click.echo("\n\n".join(found.as_text() for found in reviews))
    if html is not None and reviews:
        _write_pages(reviews, html, quiet)
    if len(paths) > 1 and not quiet:
        click.echo(f"{len(reviews)} melodies from {len(paths) - len(errors)} files, {len(errors)} files could not be "
                   "read", err=True)
    if errors:
        raise SeqtutorError(f"{len(errors)} of {len(paths)} files could not be read")
    worst = min((found.quality for found in reviews), default=1.0)
    if fail_under is not None and worst < fail_under:
        click.echo(f"seqtutor: quality {worst:.3f} is below --fail-under {fail_under:g}", err=True)
        ctx.exit(BELOW)


def _write_pages(reviews: list[Review], place: Path, quiet: bool) -> None:
    """One page, or a folder with one for each melody."""
    if len(reviews) == 1 and place.suffix.lower() in (".html", ".htm"):
        targets = [place]
    else:
        if place.suffix:
            raise UsageError(f"{len(reviews)} melodies need a folder for --html, not the file {place}"
                             if len(reviews) > 1 else f"--html {place} must end in .html or name a folder")
        place.mkdir(exist_ok=True)
        targets = [place / (found.file.replace("/", "_").replace("#", "-") + ".html") for found in reviews]
    for found, target in zip(reviews, targets, strict=True):
        with atomic(target) as temporary:
            temporary.write_text(found.as_html(), encoding="utf-8")
    if not quiet:
        click.echo(f"wrote {targets[0] if len(targets) == 1 else f'{len(targets)} pages in {place}'}", err=True)
