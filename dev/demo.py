"""Demonstrate the suite on microscopy images in a real Galaxy: `make demo`.

The raw images of a paper are fingerprinted and archived. Then workflows answer common questions:
What exactly are my data? Which of these files are copies? Did everything come back as it was? Where
do the files behind the figures come from? Two more questions are about pixels: a stack was
converted, and one of its planes is a figure; did that change anything? Which raw image was a
scaled, reduced and compressed figure made from, and which ones the panels of another figure? Then
the files of a paper are traced through an analysis in Galaxy, back to its raw data. Finally, the
author seals that trail, and a stranger checks who vouches for the files; then again with one digit
changed.
"""

import io
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import tifffile
import zarr
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from PIL import Image

from dev.authority import make_authority, serving
from dev.client import Client, JobError
from dev.environments import PROJECT
from dev.local_galaxy import Galaxy, local_galaxy
from dev.processes import ServerError
from dev.suite import ANALYSIS, STEPS, TOOLS, WORKFLOWS

TEST_DATA = PROJECT / "test-data"
RESULTS = PROJECT / "demo-results"
SEAL = PROJECT / "tools" / "iscc_verify" / "iscc_seal.py"

RAW = {
    "cell.png": "cell.png",
    "nuclei.tif": "nuclei.tif",
    "nuclei in 3D.tif": "nuclei_3d.tif",
    "retina.jpg": "retina.jpg",
}
# A copy under another name, one in which a nucleus was painted over, and an unrelated image.
FIGURES = {
    "figure 2b, final (copy).tif": "nuclei.tif",
    "figure 2c.tif": "nuclei_retouched.tif",
    "figure 4.png": "microaneurysms.png",
}
PLANE = 15  # of the stack, used as a figure
LOST = "cell.png"
DAMAGED = "retina.jpg"


def main() -> None:
    try:
        with local_galaxy(tools=[*TOOLS, *STEPS]) as galaxy:
            for name, content in run(galaxy).items():
                (RESULTS / name).parent.mkdir(parents=True, exist_ok=True)
                (RESULTS / name).write_bytes(content)
    except (ServerError, JobError) as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit("The demo was interrupted; Galaxy has stopped.")
    print(f"\nThe complete tables and the pictures are in {RESULTS}.")


def run(galaxy: Galaxy) -> dict[str, bytes]:
    """Run the workflows, print what they found, and return their outputs as files."""
    client = Client(galaxy, "ISCC demo")
    files = {}

    def answer(
        name: str, question: str, inputs: dict[str, dict], client: Client = client
    ) -> dict[str, dict]:
        print(f"\n{question}\n", flush=True)
        outputs = client.invoke(client.import_workflow(WORKFLOWS[name]), inputs)
        for label, output in outputs.items():
            if output["src"] == "hda":
                ending = {"Picture": "png", "Summary": "json"}.get(label, "tsv")
                files[f"{name}/{label}.{ending}"] = client.content(output)
        return outputs

    print("Uploading images", flush=True)
    raw = {name: (TEST_DATA / file).read_bytes() for name, file in RAW.items()}
    figures = {name: (TEST_DATA / file).read_bytes() for name, file in FIGURES.items()}
    returned = {name: content for name, content in raw.items() if name != LOST}
    returned[DAMAGED] = damaged(raw[DAMAGED])
    in_archive = client.upload_list("raw images", raw)
    together = client.upload_list("raw images and figures", raw | figures)
    came_back = client.upload_list("raw images, as they came back", returned)
    in_paper = client.upload_list("figures", figures)

    name = "fingerprint-collection"
    manifest = answer(name, "1. What exactly are my data?", {"Collection": in_archive})["Manifest"]
    show(files[f"{name}/Manifest.tsv"], ["name", "iscc", "filesize"])

    name = "deduplicate-collection"
    answer(name, "2. Which of these files are copies?", {"Collection": together})
    show(
        files[f"{name}/Pairs.tsv"],
        ["name_a", "name_b", "relation", "distance", "similarity"],
    )

    name = "verify-delivery"
    question = "3. Did everything come back as it was?"
    checked = answer(name, question, {"Collection": came_back, "Manifest": manifest})
    show(files[f"{name}/Report.tsv"], ["name", "status", "distance"])
    print(f"\n  {client.get('datasets/' + checked['Report']['id'])['misc_info'].strip()}")

    name = "trace-against-archive"
    question = "4. Where do the files behind the figures come from?"
    manifests = client.list_of("archive", {"raw images": manifest})
    answer(name, question, {"Datasets": in_paper, "Manifests of the archive": manifests})
    show(files[f"{name}/Matches.tsv"], ["name", "relation", "distance", "match"])

    print("\n5. Did the conversion change my pixels?\n", flush=True)
    stack, figure, archive = converted(tifffile.imread(TEST_DATA / "nuclei_3d.tif"))
    images = {
        "stack.tif": client.upload("stack.tif", stack),
        "stack.ome.zarr": client.upload("stack.ome.zarr", archive, "ome_zarr.zip"),
        "figure.png": client.upload("figure.png", figure),
    }
    source = {"kind": "collection", "datasets": client.list_of("conversions", images)}
    pixels = client.run("iscc_pixels", source=source, planes=True)["manifest"]
    files["pixels/Manifest.tsv"] = client.content(pixels)
    wanted = [*images, *(f"{name}/z{PLANE}c0t0" for name in list(images)[:2])]
    show(files["pixels/Manifest.tsv"], ["name", "iscc", "pixels"], wanted)

    name = "trace-figure"
    question = "6. Which raw images were these figures made from?"
    paths = {"figure 2.jpg": "panels/figure_2.jpg", "figure 3a.jpg": "pixels/figure.jpg"}
    figures = {name: (TEST_DATA / path).read_bytes() for name, path in paths.items()}
    archive = {"stack.tif": stack, **{name: raw[name] for name in ("cell.png", "retina.jpg")}}
    archive = client.upload_list("archive of images", archive)
    source = {"source|kind": "collection", "source|datasets": archive}
    pixels = client.run("iscc_pixels", **source, planes=True)["manifest"]
    images = {"raw_images|kind": "collection", "raw_images|datasets": archive}
    features = client.run("iscc_panels", **{"source|kind": "none"}, **images)["features"]
    inputs = {
        "Figures": client.upload_list("figures to trace", figures),
        "Pixel manifests of the archive": client.list_of("codes of pixels", {"images": pixels}),
        "Feature files of the archive": client.list_of("features", {"images": features}),
    }
    answer(name, question, inputs)
    table = files[f"{name}/Raw images of the figures.tsv"]
    show(table, ["panel", "relation", "match", "distance", "certainty", "corners"])

    name = "verify-lineage"
    lab = Client(galaxy, "ISCC demo, an analysis")
    stacks = lab.upload_list("stacks", {"embryo 1.tif": TEST_DATA / "nuclei_3d.tif"})
    analysis = lab.import_workflow(ANALYSIS / "analysis.gxwf.yml")
    invocation = lab.invocation(analysis, {"Stacks": stacks, "Width": 1.5})
    figure = {"src": "hda", "id": invocation["outputs"]["Figure"]["id"]}
    export = lab.export(f"invocations/{invocation['id']}")
    images = lab.elements(stacks) | {"Figure 3a": figure}
    paper = files_of_a_paper(lab.content(figure))
    inputs = {
        "Export": lab.upload("export.zip", export, "zip"),
        "Images of the analysis": lab.list_of("images of the analysis", images),
        "Files of the paper": lab.upload_list("files of the paper", paper),
    }
    answer(name, "7. How were the files of this paper made?", inputs, lab)
    columns = ["of", "relation", "distance", "steps_back", "name", "tool"]
    show(files[f"{name}/Lineage.tsv"], columns)

    name = "verify-publication"
    sealed = seal(files["verify-lineage/Trail.tsv"])
    stranger = Client(galaxy, "ISCC demo, a stranger")
    trail = stranger.upload("trail.tsv", sealed["trail.tsv"], "tabular")
    its_seal = stranger.upload("trail.seal.json", sealed["trail.seal.json"], "json")
    keys = stranger.upload("jane.pub", sealed["jane.pub"], "txt")
    root = stranger.upload("root.pem", sealed["root.pem"], "txt")
    deposited = {
        "stacks_embryo 1.tif": TEST_DATA / "nuclei_3d.tif",
        "Figure 3a.jpg": lab.content(figure),
    }
    inputs = {
        "Manifest or trail": trail,
        "Seal": its_seal,
        "Public keys that you trust": keys,
        "Root certificate of the time stamping authority": root,
        "Deposited files": stranger.upload_list("deposited files", deposited),
    }
    answer(name, "8. Who vouches for these files, and since when?", inputs, stranger)
    show(files[f"{name}/Who vouches.tsv"], ["question", "answer"])
    print()
    show(files[f"{name}/All files.tsv"], ["name", "status"])
    print("\nWhat if somebody changes the smoothing in the trail from 1.5 to 2.5?\n", flush=True)
    edited = sealed["trail.tsv"].replace(b'"1.5"', b'"2.5"')
    inputs = {"file": stranger.upload("trail.tsv", edited, "tabular"), "seal": its_seal}
    inputs |= {"trusted|kind": "dataset", "trusted|keys": keys, "tsa_root": root}
    report = stranger.run("iscc_seal", **inputs, on_failure="report")["report"]
    files[f"{name}/Edited trail.tsv"] = stranger.content(report)
    show(files[f"{name}/Edited trail.tsv"], ["question", "answer"])
    return files


def seal(trail: bytes) -> dict[str, bytes]:
    """Seal a trail as its author does on her own machine, with a stamp of a local authority.

    Returns the files that she publishes, by name: trail, seal, public key, and root certificate.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "trail.tsv").write_bytes(trail)
        key = Ed25519PrivateKey.generate()
        private = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
        (folder / "jane").write_bytes(private)
        public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
        authority = make_authority(folder / "authority")
        with serving(lambda path, query: (200, authority.reply(query))) as url:
            command = [sys.executable, SEAL, "sign", "trail.tsv", "--key", "jane", "--stamp", url]
            command += ["--seal", "trail.seal.json"]
            subprocess.run(command, cwd=folder, check=True, capture_output=True)
        return {
            "trail.tsv": trail,
            "trail.seal.json": (folder / "trail.seal.json").read_bytes(),
            "jane.pub": public + b" Jane Doe\n",
            "root.pem": authority.root,
        }


def files_of_a_paper(figure: bytes) -> dict[str, bytes]:
    """The raw data, and a figure (JPEG) as submitted, stored as PNG, and as printed."""
    picture, stored, printed = Image.open(io.BytesIO(figure)), io.BytesIO(), io.BytesIO()
    picture.save(stored, "PNG")
    picture.resize((100, 107)).save(printed, "JPEG", quality=60)
    return {
        "data of figure 3a.tif": (TEST_DATA / "nuclei_3d.tif").read_bytes(),
        "figure 3a.jpg": figure,
        "figure 3a, proof.png": stored.getvalue(),
        "figure 3a, printed.jpg": printed.getvalue(),
    }


def converted(planes: np.ndarray) -> tuple[bytes, bytes, bytes]:
    """A stack as an uncompressed TIFF, a plane of it as a PNG, and a zipped OME-Zarr."""
    stack, figure, archive = io.BytesIO(), io.BytesIO(), io.BytesIO()
    tifffile.imwrite(stack, planes, photometric="minisblack", metadata={"axes": "ZYX"})
    Image.fromarray(planes[PLANE]).save(figure, "PNG")
    with tempfile.TemporaryDirectory() as name, zipfile.ZipFile(archive, "w") as packed:
        group = zarr.create_group(name, zarr_format=2)
        axes = [{"name": axis, "type": "space"} for axis in "zyx"]
        scale = [{"type": "scale", "scale": [1, 1, 1]}]
        level = {"path": "0", "coordinateTransformations": scale}
        group.attrs["multiscales"] = [{"version": "0.4", "axes": axes, "datasets": [level]}]
        group.create_array("0", data=planes, chunks=(8, 32, 32))
        for path in sorted(Path(name).rglob("*")):
            if path.is_file():
                packed.write(path, f"stack.ome.zarr/{path.relative_to(name)}")
    return stack.getvalue(), figure.getvalue(), archive.getvalue()


def damaged(content: bytes) -> bytes:
    """A file as an interrupted transfer leaves it: the last fifth is missing."""
    return content[: len(content) * 4 // 5]


def show(table: bytes, columns: list[str], names: list[str] | None = None) -> None:
    """Print some columns of a table, aligned; if names are given, their rows in this order."""
    rows = [line.split("\t") for line in table.decode().rstrip("\n").split("\n")]
    rows[0][0] = rows[0][0].lstrip("#")
    chosen = [rows[0].index(column) for column in columns]
    if names:
        rows = [rows[0], *(row for name in names for row in rows[1:] if row[0] == name)]
    rows = [[row[column] for column in chosen] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for number, row in enumerate(rows):
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print("  " + "  ".join(cells).rstrip())
        if number == 0:
            print("  " + "  ".join("-" * width for width in widths), flush=True)


if __name__ == "__main__":
    main()
