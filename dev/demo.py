"""Demonstrate the suite on microscopy images in a real Galaxy: `make demo`.

A story in eight questions, each of which a workflow answers. The raw images of a paper are
fingerprinted. Which of these files are copies? Did everything come back as it was? Where do the
files behind the figures come from? Then the pixels: did a conversion change them, and which raw
images were the figures made from? Then the files of a paper are traced through an analysis in
Galaxy, back to the raw data. Finally, the author seals that trail, and a stranger checks who
vouches for the files; then again with one digit changed.
"""

import io
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path
from queue import SimpleQueue

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
from dev.story import Chapter, page
from dev.suite import ANALYSIS, STEPS, TOOLS, WORKFLOWS

TEST_DATA = PROJECT / "test-data"
RESULTS = PROJECT / "demo-results"
PAGE = RESULTS / "index.html"
SEAL = PROJECT / "tools" / "iscc_verify" / "iscc_seal.py"
TITLE = "From raw images to a figure, and back"
INTRODUCTION = (
    "Eight questions about the images of a paper, answered by the ISCC tools in Galaxy. Every "
    "answer comes from the content of the files, and never from their names."
)

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
# Three panels, and one plane of the stack.
SCALED = {"figure 2.jpg": "panels/figure_2.jpg", "figure 3a.jpg": "pixels/figure.jpg"}
LOST = "cell.png"
DAMAGED = "retina.jpg"

# A part of the story yields its chapters, in order.
Part = Callable[[Galaxy], Iterator[Chapter]]


def main() -> None:
    start = time.monotonic()
    try:
        with local_galaxy(tools=[*TOOLS, *STEPS]) as galaxy:
            chapters = run(galaxy)
    except (ServerError, JobError) as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit("The demo was interrupted; Galaxy has stopped.")
    shutil.rmtree(RESULTS, ignore_errors=True)
    for chapter in chapters:
        for name, content in chapter.files.items():
            (RESULTS / name).parent.mkdir(parents=True, exist_ok=True)
            (RESULTS / name).write_bytes(content)
    end = f"Made by the demo on {date.today().isoformat()}. Complete tables are beside this page."
    PAGE.write_text(page(TITLE, INTRODUCTION, chapters, end), encoding="utf-8")
    print(
        f"\nThat took {time.monotonic() - start:.0f} s. The whole story is one page, with pictures:"
    )
    print(PAGE)


def run(galaxy: Galaxy) -> list[Chapter]:
    """Let workflows answer all questions, in three parts side by side; print them in order."""
    parts: list[Part] = [ask_about_files, ask_about_images, ask_about_a_paper]
    queues: list[SimpleQueue[Chapter | None]] = [SimpleQueue() for _ in parts]

    def tell(part: Part, queue: SimpleQueue[Chapter | None]) -> None:
        try:
            for chapter in part(galaxy):
                queue.put(chapter)
        finally:
            queue.put(None)

    chapters = []
    with ThreadPoolExecutor(len(parts)) as pool:
        told = [pool.submit(tell, *each) for each in zip(parts, queues, strict=True)]
        for part, queue in zip(told, queues, strict=True):
            for chapter in iter(queue.get, None):
                chapter.print()
                chapters.append(chapter)
            part.result()
    return chapters


def ask(client: Client, name: str, question: str, inputs: dict[str, dict]) -> Chapter:
    """A question that a workflow answers: its output Result is the answer."""
    outputs = client.invoke(client.import_workflow(WORKFLOWS[name]), inputs)
    files = {}
    for label, output in outputs.items():
        ending = {"Picture": "png", "Contact sheet": "png", "Thumbnails": "zip", "Result": "txt"}
        if output["src"] == "hda":
            file = f"{label}.{ending.get(label, 'json' if label == 'Summary' else 'tsv')}"
            files[f"{name}/{file}"] = client.content(output)
    answer = " ".join(files.get(f"{name}/Result.txt", b"").decode().split())
    [picture] = [files[path] for path in files if path.endswith(".png")] or [None]
    return Chapter(question, answer, picture=picture, files=files)


def ask_about_files(galaxy: Galaxy) -> Iterator[Chapter]:
    client = Client(galaxy, "ISCC demo, files")
    raw = {name: (TEST_DATA / file).read_bytes() for name, file in RAW.items()}
    figures = {name: (TEST_DATA / file).read_bytes() for name, file in FIGURES.items()}
    returned = {name: content for name, content in raw.items() if name != LOST}
    returned[DAMAGED] = damaged(raw[DAMAGED])

    inputs = {"Collection": client.upload_list("raw images", raw)}
    chapter = ask(client, "fingerprint-collection", "1. What exactly are my data?", inputs)
    table = "fingerprint-collection/Manifest.tsv"
    chapter.show(table, ["name", "iscc", "filesize"])
    chapter.answer = f"{len(raw)} files, and for each a code of its content."
    yield chapter
    manifest = client.upload("manifest.tsv", chapter.files[table], "tabular")

    inputs = {"Collection": client.upload_list("raw images and figures", raw | figures)}
    chapter = ask(client, "deduplicate-images", "2. Which of these files are copies?", inputs)
    columns = ["name_a", "name_b", "relation", "distance", "similarity"]
    chapter.show("deduplicate-images/Pairs.tsv", columns)
    yield chapter

    inputs = {"Collection": client.upload_list("raw images, as they came back", returned)}
    inputs["Manifest"] = manifest
    chapter = ask(client, "verify-delivery", "3. Did everything come back as it was?", inputs)
    chapter.show("verify-delivery/Report.tsv", ["name", "status", "distance"])
    yield chapter

    inputs = {"Datasets": client.upload_list("figures", figures)}
    inputs["Manifests of the archive"] = client.list_of("archive", {"raw images": manifest})
    question = "4. Where do the files behind the figures come from?"
    chapter = ask(client, "trace-against-archive", question, inputs)
    columns = ["name", "relation", "distance", "match"]
    chapter.show("trace-against-archive/Matches.tsv", columns)
    yield chapter


def ask_about_images(galaxy: Galaxy) -> Iterator[Chapter]:
    client = Client(galaxy, "ISCC demo, images")
    cell, retina = TEST_DATA / "cell.png", TEST_DATA / "retina.jpg"
    stack, converted = conversions(tifffile.imread(TEST_DATA / "nuclei_3d.tif"))
    lossy = io.BytesIO()
    Image.open(cell).save(lossy, "JPEG", quality=90)
    after = {
        "stack.ome.zarr": client.upload("stack.ome.zarr", converted, "ome_zarr.zip"),
        "cell.jpg": client.upload("cell.jpg", lossy.getvalue()),
    }
    inputs = {
        "Originals": client.upload_list("originals", {"stack.tif": stack, "cell.png": cell}),
        "Converted images": client.list_of("converted images", after),
    }
    question = "5. Did the conversion change my pixels?"
    chapter = ask(client, "audit-conversion", question, inputs)
    chapter.show("audit-conversion/Report.tsv", ["name", "status", "distance", "detail"])
    yield chapter

    archive = {"stack.tif": stack, "cell.png": cell, "retina.jpg": retina}
    archive = client.upload_list("archive of images", archive)
    source = {"source|kind": "collection", "source|datasets": archive}
    jobs = (
        client.start("iscc_pixels", **source, planes=True),
        client.start(
            "iscc_panels",
            **{
                "source|kind": "none",
                "raw_images|kind": "collection",
                "raw_images|datasets": archive,
            },
        ),
    )
    pixels, features = (client.outputs(each) for each in jobs)
    scaled = {name: TEST_DATA / path for name, path in SCALED.items()}
    codes = {"images": pixels["manifest"]}
    inputs = {
        "Figures": client.upload_list("figures to trace", scaled),
        "Pixel manifests of the archive": client.list_of("codes of pixels", codes),
        "Feature files of the archive": client.list_of(
            "features", {"images": features["features"]}
        ),
    }
    question = "6. Which raw images were these figures made from?"
    chapter = ask(client, "trace-figure", question, inputs)
    columns = ["panel", "relation", "match", "distance", "certainty", "corners"]
    chapter.show("trace-figure/Raw images of the figures.tsv", columns)
    yield chapter


def ask_about_a_paper(galaxy: Galaxy) -> Iterator[Chapter]:
    lab = Client(galaxy, "ISCC demo, an analysis")
    stacks = lab.upload_list("stacks", {"embryo 1.tif": TEST_DATA / "nuclei_3d.tif"})
    analysis = lab.import_workflow(ANALYSIS / "analysis.gxwf.yml")
    invocation = lab.invocation(analysis, {"Stacks": stacks, "Width": 1.5})
    figure = {"src": "hda", "id": invocation["outputs"]["Figure"]["id"]}
    export = lab.export(f"invocations/{invocation['id']}")
    images = lab.elements(stacks) | {"Figure 3a": figure}
    submitted = lab.content(figure)
    inputs = {
        "Export": lab.upload("export.zip", export, "zip"),
        "Images of the analysis": lab.list_of("images of the analysis", images),
        "Files of the paper": lab.upload_list("files of the paper", files_of_a_paper(submitted)),
    }
    question = "7. How were the files of this paper made?"
    chapter = ask(lab, "verify-lineage", question, inputs)
    columns = ["of", "relation", "distance", "steps_back", "name", "tool"]
    table = "verify-lineage/Lineage.tsv"
    chapter.show(table, columns)
    relations = dict(
        zip(*(chapter.column(table, each) for each in ("of", "relation")), strict=True)
    )
    found = sum(relation != "none" for relation in relations.values())
    chapter.answer = f"{found} of {len(relations)} files come from this analysis."
    yield chapter

    sealed = seal(chapter.files["verify-lineage/Trail.tsv"])
    stranger = Client(galaxy, "ISCC demo, a stranger")
    keys = stranger.upload("jane.pub", sealed["jane.pub"], "txt")
    its_seal = stranger.upload("trail.seal.json", sealed["trail.seal.json"], "json")
    root = stranger.upload("root.pem", sealed["root.pem"], "txt")
    deposited = {"stacks_embryo 1.tif": TEST_DATA / "nuclei_3d.tif", "Figure 3a.jpg": submitted}
    inputs = {
        "Manifest or trail": stranger.upload("trail.tsv", sealed["trail.tsv"], "tabular"),
        "Seal": its_seal,
        "Public keys that you trust": keys,
        "Root certificate of the time stamping authority": root,
        "Deposited files": stranger.upload_list("deposited files", deposited),
    }
    question = "8. Who vouches for these files, and since when?"
    chapter = ask(stranger, "verify-publication", question, inputs)
    chapter.show("verify-publication/Who vouches.tsv", ["question", "answer"])
    chapter.show("verify-publication/All files.tsv", ["name", "status"])
    answers = chapter.column("verify-publication/Who vouches.tsv", "answer")
    intact = chapter.column("verify-publication/All files.tsv", "status").count("OK")
    chapter.answer = f"Jane Doe: her signature is {answers[1]}, and {intact} of {len(deposited)} "
    chapter.answer += "deposited files are what she sealed."

    edited = sealed["trail.tsv"].replace(b'"1.5"', b'"2.5"')
    inputs = {"file": stranger.upload("trail.tsv", edited, "tabular"), "seal": its_seal}
    inputs |= {"trusted|kind": "dataset", "trusted|keys": keys, "tsa_root": root}
    report = stranger.run("iscc_seal", **inputs, on_failure="report")["report"]
    table = "verify-publication/Edited trail.tsv"
    chapter.files[table] = stranger.content(report)
    question = "What if somebody changes the smoothing in the trail from 1.5 to 2.5?"
    chapter.show(table, ["question", "answer"], heading=question)
    yield chapter


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


def conversions(planes: np.ndarray) -> tuple[bytes, bytes]:
    """A stack as an uncompressed TIFF, and as a zipped OME-Zarr."""
    stack, archive = io.BytesIO(), io.BytesIO()
    tifffile.imwrite(stack, planes, photometric="minisblack", metadata={"axes": "ZYX"})
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
    return stack.getvalue(), archive.getvalue()


def damaged(content: bytes) -> bytes:
    """A file as an interrupted transfer leaves it: the last fifth is missing."""
    return content[: len(content) * 4 // 5]


if __name__ == "__main__":
    main()
