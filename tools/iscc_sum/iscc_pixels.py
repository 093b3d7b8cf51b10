"""Compute the ISCC of the pixels of each image, in any file format, and its Image-Code.

Images with the same pixels have the same code, however they are stored: TIFF, PNG, JPEG, BMP, JPEG
2000, WebP or OME-Zarr, compressed or not. The Image-Code describes what an image looks like, and
stays nearly the same in a figure. The manifest is a table with one image per line, like those of
iscc_manifest, with two more columns: the type and sizes of the image, and the Image-Code.
"""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))  # missing if PYTHONSAFEPATH is set
    import startup

    startup.begin()

import argparse
import time

import command
import inputs
import manifest
import outputs
import pixels
import thumbnails
from command import Outcome
from inputs import Form
from messages import InputError, pluralize

SKIPPED_COLUMNS = ("#name", "reason")


def main(argv: list[str] | None = None) -> int:
    return command.execute(make_parser(), code, argv)


def make_parser() -> command.Parser:
    parser = command.Parser("iscc_pixels", __doc__)
    parser.add_datasets()
    parser.add_output("--manifest", "the manifest to write")
    parser.add_argument(
        "--planes",
        action="store_true",
        help="add a line for each plane of an image with several planes: name/z2c1t0",
    )
    parser.add_argument(
        "--projections",
        action="store_true",
        help="add a line for each maximum projection along Z: name/zmaxc1t0",
    )
    parser.add_argument(
        "--turned",
        action="store_true",
        help="write 16 Image-Codes instead of one, for figures that may be rotated, mirrored or "
        "inverted; the upright one first",
    )
    parser.add_output(
        "--thumbnails",
        "a small grey picture of each image, for contact sheets of iscc_similarity (zip file)",
    )
    parser.add_output(
        "--skipped",
        "skip datasets that cannot be read as images, and list them, with reasons, in this table",
    )
    parser.add_argument(
        "--narrow",
        action="store_true",
        help="write codes of 128 bits, as in ISO 24138:2024, instead of 256",
    )
    return parser


def code(args: argparse.Namespace) -> Outcome:
    """Code images and write the requested outputs."""
    start = time.monotonic()
    if not args.manifest:
        raise InputError("the following arguments are required: --manifest")
    datasets = [inputs.from_path(path) for path in args.files]
    if args.inputs:
        form = Form(args.inputs, ("datasets",))
        datasets = form.datasets(form.one_of("datasets"))
    outputs.check(args.outputs, [args.inputs, *(each.path for each in datasets)])
    with_thumbnails = args.thumbnails is not None
    wanted = pixels.Wanted(
        not args.narrow, args.planes, args.projections, args.turned, with_thumbnails
    )
    skip = args.skipped is not None
    with outputs.Outputs() as out, thumbnails.Kept(str(args.thumbnails)) as kept:
        found, skipped = pixels.code_images(datasets, wanted, kept, skip, args.processes)
        entries = [entry for each in found for entry in each]
        out.write_lines(args.manifest, manifest.lines(entries))
        if with_thumbnails:
            out.write(args.thumbnails, kept.packed(entries))
        if args.skipped:
            out.write_lines(args.skipped, manifest.table_lines(SKIPPED_COLUMNS, skipped))
    line = f"{pluralize(len(found), 'dataset')} with {pluralize(len(entries), 'code')} of pixels, "
    line += f"{time.monotonic() - start:.1f} s"
    if skipped:
        line += f"; skipped {pluralize(len(skipped), 'dataset')}"
    return Outcome(line)


if __name__ == "__main__":
    command.run(main)
