"""The same pixels in many formats, and the stream of bytes that their codes are made from.

NumPy makes the stream from the array, without any reader. The oracle makes the codes.
"""

import json
from collections.abc import Callable
from pathlib import Path

import imagecodecs
import numpy as np
import tifffile
import zarr

import pixels
import reader
from inputs import Dataset
from manifest import Entry
from pixels import Wanted

AXES = "ZCTYX"


def pixels_of(
    axes: str, dtype: str, seed: int = 0, rows: int = 37, columns: int = 50
) -> np.ndarray:
    """An array with axes of different lengths, smooth enough to be compressed, of any type."""
    lengths = {"Z": 3, "C": 2, "T": 4, "Y": rows, "X": columns, "S": 3}
    shape = tuple(lengths[axis] for axis in axes)
    random = np.random.default_rng(seed)
    ramp = np.add.outer(np.arange(rows) * 3, np.arange(columns) * 5)
    if axes.endswith("S"):
        ramp = ramp[..., np.newaxis]
    found = ramp + random.integers(0, 40, shape)
    if np.dtype(dtype).kind == "f":
        return (found / 7 - 20).astype(dtype)
    info = np.iinfo(dtype)
    return (found * (info.max // 512 + 1) + info.min // 2).astype(dtype)


def coded(path: Path, **wanted: bool) -> list[Entry]:
    """The entries of a file or directory named x, without a separate process to read it."""
    dataset, options = Dataset(("x",), path), Wanted(**wanted)
    pieces = reader.read_here(dataset, {}, options.projections)
    found = pixels.code_dataset(dataset, pieces, lambda count: None, options)
    return [each.entry for each in found]


def five_axes(array: np.ndarray, axes: str) -> np.ndarray:
    """The array with the axes Z, C, T, Y, X; samples are channels, and vary faster."""
    if "S" in axes and "C" in axes:
        array = np.moveaxis(array, axes.index("S"), axes.index("C") + 1)
        shape = list(array.shape)
        at = axes.index("C")
        shape[at : at + 2] = [shape[at] * shape[at + 1]]
        array, axes = array.reshape(shape), axes.replace("S", "")
    axes = axes.replace("S", "C")
    order = [axes.index(axis) for axis in AXES if axis in axes]
    shape = [array.shape[axes.index(axis)] if axis in axes else 1 for axis in AXES]
    return array.transpose(order).reshape(shape)


def stream_of(array: np.ndarray) -> bytes:
    """The IMAGEWALK stream of an array with five axes: big-endian planes, Z outermost."""
    stored = "u1" if array.dtype == bool else array.dtype.newbyteorder(">")
    return np.ascontiguousarray(array).astype(stored).tobytes()


def described(array: np.ndarray) -> str:
    sizes = "".join(f"{axis}{size}" for axis, size in zip("zctyx", array.shape, strict=True))
    return f"imagewalk {'uint8' if array.dtype == bool else array.dtype.name} {sizes}"


# How to store an array without loss, each a function of path, array and axes.
Writer = Callable[[Path, np.ndarray, str], None]


def tiff(**options: object) -> Writer:
    def write(path: Path, array: np.ndarray, axes: str) -> None:
        metadata = {"axes": axes}
        chosen = {"photometric": "rgb" if "S" in axes else "minisblack", "metadata": metadata}
        tifffile.imwrite(path, array, **(chosen | options))

    return write


def planar(path: Path, array: np.ndarray, axes: str) -> None:
    array = np.moveaxis(array, axes.index("S"), -3)
    options = {"photometric": "rgb", "planarconfig": "separate", "metadata": None}
    tifffile.imwrite(path, array, **options)


def imagej(path: Path, array: np.ndarray, axes: str) -> None:
    """Write in ImageJ's own order of axes, TZCYXS."""
    order = [axis for axis in "TZCYXS" if axis in axes]
    array = array.transpose([axes.index(axis) for axis in order])
    tifffile.imwrite(path, array, imagej=True, metadata={"axes": "".join(order)})


def bare_pages(path: Path, array: np.ndarray, axes: str) -> None:
    """Write pages without any description, as many programs do."""
    five = five_axes(array, axes)
    with tifffile.TiffWriter(path) as writer:
        for plane in five.reshape(-1, *five.shape[3:]):
            writer.write(plane, photometric="minisblack", metadata=None, contiguous=False)


def ome_zarr(
    version: int = 2,
    chunks: Callable[[tuple[int, ...]], tuple[int, ...]] = lambda shape: (
        (1,) * (len(shape) - 2) + (16, 20)
    ),
    shards: Callable[[tuple[int, ...]], tuple[int, ...]] | None = None,
    group: str = "",
    **options: object,
) -> Writer:
    def write(path: Path, array: np.ndarray, axes: str) -> None:
        axes = axes.lower()
        if "s" in axes:  # OME-Zarr has channels alone
            array = five_axes(array, axes.upper())
            axes = "zctyx"
        root = path / group
        root.mkdir(parents=True, exist_ok=True)
        shape = chunks(array.shape)
        more = {"shards": shards(array.shape)} if shards else {}
        stored = zarr.create_array(
            root / "full",
            shape=array.shape,
            chunks=shape,
            dtype=array.dtype,
            zarr_format=version,
            **more,
            **options,
        )
        stored[...] = array
        small = zarr.create_array(
            root / "half", shape=array.shape, dtype=array.dtype, zarr_format=version
        )
        small[...] = 1
        named = [{"name": axis, "type": "space" if axis in "zyx" else "other"} for axis in axes]
        describe(
            root,
            version,
            {
                "multiscales": [
                    {
                        "version": "0.4",
                        "axes": named,
                        "datasets": [{"path": "full"}, {"path": "half"}],
                    }
                ]
            },
        )

    return write


def describe(group: Path, version: int, attributes: dict) -> None:
    """Write the metadata of a group in OME-Zarr 0.4 or 0.5."""
    group.mkdir(parents=True, exist_ok=True)
    if version == 2:
        (group / ".zgroup").write_text('{"zarr_format": 2}')
        (group / ".zattrs").write_text(json.dumps(attributes))
    else:
        found = {"ome": {"version": "0.5", **attributes}}
        text = {"zarr_format": 3, "node_type": "group", "attributes": found}
        (group / "zarr.json").write_text(json.dumps(text))


def picture(encode: Callable[[np.ndarray], bytes]) -> Writer:
    def write(path: Path, array: np.ndarray, axes: str) -> None:
        path.write_bytes(encode(array))

    return write


TIFFS: dict[str, Writer] = {
    "TIFF": tiff(),
    "TIFF, big-endian": tiff(byteorder=">"),
    "BigTIFF": tiff(bigtiff=True),
    "BigTIFF, big-endian": tiff(bigtiff=True, byteorder=">"),
    "TIFF, strips": tiff(rowsperstrip=7),
    "TIFF, tiles": tiff(tile=(16, 32)),
    "TIFF, deflate": tiff(compression="zlib"),
    "TIFF, deflate, predictor": tiff(compression="zlib", predictor=True, rowsperstrip=5),
    "TIFF, LZW": tiff(compression="lzw", rowsperstrip=5),
    "TIFF, zstd, tiles": tiff(compression="zstd", tile=(32, 16)),
    "TIFF, zstd, tiles, big-endian": tiff(compression="zstd", tile=(32, 16), byteorder=">"),
    "TIFF, LZMA": tiff(compression="lzma"),
    "TIFF, PackBits": tiff(compression="packbits", rowsperstrip=3),
    "OME-TIFF": tiff(ome=True),
    "OME-TIFF, tiles, zstd": tiff(ome=True, compression="zstd", tile=(16, 16)),
    "pages, no metadata": bare_pages,
}
ZARRS: dict[str, Writer] = {
    "OME-Zarr 0.4": ome_zarr(),
    "OME-Zarr 0.4, big-endian order": ome_zarr(compressors=None),
    "OME-Zarr 0.4, odd chunks": ome_zarr(chunks=lambda shape: (2,) * (len(shape) - 2) + (9, 50)),
    "OME-Zarr 0.4, one chunk": ome_zarr(chunks=lambda shape: shape),
    "OME-Zarr 0.5": ome_zarr(3),
    "OME-Zarr 0.5, sharded": ome_zarr(
        3,
        chunks=lambda shape: (1,) * (len(shape) - 2) + (10, 25),
        shards=lambda shape: (*[2] * (len(shape) - 2), 40, 50),
    ),
}

# What only pictures of some types can be stored in: (writer, axes, types).
PICTURES: dict[str, tuple[Writer, tuple[str, ...], tuple[str, ...]]] = {
    "PNG": (picture(imagecodecs.png_encode), ("YX", "YXS"), ("uint8", "uint16")),
    "BMP": (picture(imagecodecs.bmp_encode), ("YX", "YXS"), ("uint8",)),
    "WebP, lossless": (
        picture(lambda array: imagecodecs.webp_encode(array, lossless=True)),
        ("YXS",),
        ("uint8",),
    ),
    "JPEG 2000, lossless": (
        picture(lambda array: imagecodecs.jpeg2k_encode(array, level=0, reversible=True)),
        ("YX", "YXS"),
        ("uint8", "uint16"),
    ),
    "TIFF, planar": (planar, ("YXS",), ("uint8", "uint16", "int16", "float32")),
    "TIFF, ImageJ": (imagej, ("YX", "ZYX", "CYX", "TZCYX"), ("uint8", "uint16", "float32")),
}


def containers(axes: str, dtype: str) -> dict[str, Writer]:
    """All writers that can store an array with these axes and this type."""
    fitting = {
        name: write
        for name, (write, all_axes, types) in PICTURES.items()
        if axes in all_axes and dtype in types
    }
    return TIFFS | ZARRS | fitting
