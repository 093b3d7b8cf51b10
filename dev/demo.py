"""What the suite is good for, on real images in a real Galaxy: `make demo`.

A collection of microscopy images goes through the three tools. Among them are a copy under another
name and a copy in which somebody painted over one nucleus. Later the collection comes back with an
image damaged and one lost, and is checked against the manifest that was made in the beginning.
"""

import sys

from dev.client import Client, JobError
from dev.environments import PROJECT
from dev.local_galaxy import Galaxy, local_galaxy
from dev.processes import ServerError

TEST_DATA = PROJECT / "test-data"
RESULTS = PROJECT / "demo-results"

IMAGES = {
    "cell.png": "cell.png",
    "nuclei.tif": "nuclei.tif",
    "nuclei in 3D.tif": "nuclei_3d.tif",
    "figure 2b, final (copy).tif": "nuclei.tif",
    "figure 2c.tif": "nuclei_retouched.tif",
    "retina.jpg": "retina.jpg",
    "microaneurysms.png": "microaneurysms.png",
}
LOST = "cell.png"
DAMAGED = "retina.jpg"


def main() -> None:
    try:
        with local_galaxy() as galaxy:
            for name, content in run(galaxy).items():
                RESULTS.mkdir(exist_ok=True)
                (RESULTS / name).write_bytes(content)
    except (ServerError, JobError) as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit("The demo was interrupted; Galaxy has stopped.")
    print(f"\nThe whole tables and the picture are in {RESULTS}.")


def run(galaxy: Galaxy) -> dict[str, bytes]:
    """Run the three tools, print what they found, and give their outputs as files."""
    client = Client(galaxy, "ISCC demo")
    images = {name: (TEST_DATA / file).read_bytes() for name, file in IMAGES.items()}
    print(f"Uploading {len(images)} images", flush=True)
    collection = client.upload_list("images", images)
    files = {}

    manifest = client.run(
        "iscc_sum", **{"source|kind": "collection", "source|datasets": collection}
    )["manifest"]
    files["manifest.tsv"] = client.content(manifest)
    show(
        "1. ISCC manifest gives every image its code.",
        files["manifest.tsv"],
        ["name", "iscc", "filesize", "note"],
    )

    source = {"source|kind": "manifests", "source|manifests": manifest}
    found = client.run("iscc_similarity", **source, outputs=["pairs", "clusters", "picture"])
    files["pairs.tsv"] = client.content(found["pairs"])
    files["clusters.tsv"] = client.content(found["clusters"])
    files["picture.png"] = client.content(found["picture"])
    show(
        "2. ISCC similarity finds the copy, and the image that was painted over.",
        files["pairs.tsv"],
        ["name_a", "name_b", "relation", "distance", "similarity"],
    )

    print("\nUploading the images as they came back: one damaged, one lost", flush=True)
    returned = {name: content for name, content in images.items() if name != LOST}
    returned[DAMAGED] = damaged(images[DAMAGED])
    collection = client.upload_list("images, as they came back", returned)
    report = client.run(
        "iscc_verify",
        **{"source|kind": "collection", "source|datasets": collection},
        **{"expected|kind": "manifest", "expected|manifest": manifest},
    )["report"]
    files["report.tsv"] = client.content(report)
    show(
        "3. ISCC verify checks them against the manifest.",
        files["report.tsv"],
        ["name", "status", "distance"],
    )
    print(f"\n  {client.get('datasets/' + report['id'])['misc_info'].strip()}")
    return files


def damaged(content: bytes) -> bytes:
    """A file as a transfer leaves it that broke off: the last fifth is missing."""
    return content[: len(content) * 4 // 5]


def show(title: str, table: bytes, columns: list[str]) -> None:
    """Print some columns of a table, aligned."""
    rows = [line.split("\t") for line in table.decode().rstrip("\n").split("\n")]
    rows[0][0] = rows[0][0].lstrip("#")
    chosen = [rows[0].index(column) for column in columns]
    rows = [[row[column] for column in chosen] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    print(f"\n{title}\n")
    for number, row in enumerate(rows):
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print("  " + "  ".join(cells).rstrip())
        if number == 0:
            print("  " + "  ".join("-" * width for width in widths), flush=True)


if __name__ == "__main__":
    main()
