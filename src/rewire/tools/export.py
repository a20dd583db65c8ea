"""Write a trained network in a form that others can load.

rewire export results/thesis/paper/cells/natural-s0.99-l2-seed0 --format onnx: an ONNX
model, a torch.export program (.pt2) or a plain state dictionary by torchvision's names, all dense
and in evaluation mode, for any number of images. The file is read again, and computes the same
logits, before it is put in place.
"""

from __future__ import annotations

import argparse
import importlib.util
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rewire.errors import InputError
from rewire.files import WEIGHTS, atomic_path, writable_folder

if TYPE_CHECKING:  # the command line answers without it
    from torch import Tensor, nn

    from rewire.models.sparse import SparseNetwork

TOLERANCE = 1e-4  # of a logit, absolute
CHECKED = (1, 5)  # images of the batches that are compared; the exporters see another number
PACKAGES = ("onnx", "onnxruntime", "onnxscript")


@dataclass(frozen=True)
class Exported:
    """A format.

    Attributes:
        suffixes: of its files, the usual one first.
        write: (dense network in evaluation mode, example images, path).
        read: path, and the description of the network → what computes its logits.
    """

    suffixes: tuple[str, ...]
    write: Callable[[Any, Tensor, Path], None]
    read: Callable[[Path, dict[str, Any]], Callable[[Tensor], Tensor]]


def write_onnx(network: nn.Module, images: Tensor, path: Path) -> None:
    """One file with all weights; input `images` (batch, 3, H, W), output `logits`."""
    import torch

    torch.onnx.export(
        network,
        (images,),
        path,
        input_names=["images"],
        output_names=["logits"],
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        dynamo=True,
        external_data=False,
        verbose=False,
    )


def read_onnx(path: Path, spec: dict[str, Any]) -> Callable[[Tensor], Tensor]:
    import onnxruntime
    import torch

    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    return lambda images: torch.from_numpy(session.run(None, {"images": images.numpy()})[0])


def write_program(network: nn.Module, images: Tensor, path: Path) -> None:
    import torch

    shapes = ({0: torch.export.Dim("batch")},)
    torch.export.save(torch.export.export(network, (images,), dynamic_shapes=shapes), path)


def read_program(path: Path, spec: dict[str, Any]) -> Callable[[Tensor], Tensor]:
    import torch

    return torch.export.load(path).module()


def write_state(network: SparseNetwork, images: Tensor, path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    from rewire.models.plain import to_state_dict

    state = to_state_dict(network)
    save_file(state, path) if path.suffix == ".safetensors" else torch.save(state, path)


def read_state(path: Path, spec: dict[str, Any]) -> Callable[[Tensor], Tensor]:
    from rewire.models.plain import open_network

    return open_network(path, spec=spec)


FORMATS = {
    "onnx": Exported((".onnx",), write_onnx, read_onnx),
    "torch": Exported((".pt2",), write_program, read_program),
    "state_dict": Exported((".pt", ".pth", ".safetensors"), write_state, read_state),
}


def export(cell: Path, format: str, output: Path | None = None) -> Path:
    """Write the network of a trained cell, or of a weights file, and check what was written.

    Args:
        cell: folder of the cell, or file.
        format: a key of `FORMATS`.
        output: file to write; by default named after the cell, in the working directory.

    Returns:
        The file.

    Raises:
        InputError: for a cell without a network, another suffix, a missing package, or a file that
            would compute other logits; nothing is written then.
    """
    form = FORMATS[format]
    output = output or Path(
        f"{cell.resolve().name if cell.is_dir() else cell.stem}{form.suffixes[0]}"
    )
    if output.suffix not in form.suffixes:
        raise InputError(
            f"'{output}' is no file for {format}. Allowed: {', '.join(form.suffixes)}."
        )
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if format == "onnx" and missing:
        raise InputError(
            f"an ONNX model needs {', '.join(missing)}, not installed here. "
            "Allowed: pip install -c constraints.txt -e '.[export]', or another format."
        )
    import torch

    from rewire.models.artifact import load_network
    from rewire.models.plain import as_plain
    from rewire.rng import generator

    if cell.is_dir() and not (cell / WEIGHTS).is_file():
        raise InputError(
            f"'{cell}' holds no {WEIGHTS}. Allowed: the folder of a trained cell, or such a file."
        )
    model, spec = load_network(cell / WEIGHTS if cell.is_dir() else cell)
    side, random = spec["image_size"], generator(0, "export")
    images = {n: torch.rand(n, 3, side, side, generator=random) for n in (2, *CHECKED)}
    writable_folder(output.parent)
    with atomic_path(output) as temporary, torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch's exporters, about themselves
        form.write(model if format == "state_dict" else as_plain(model), images[2], temporary)
        predict = form.read(temporary, spec)
        off = max(float((predict(images[n]) - model(images[n])).abs().max()) for n in CHECKED)
        if not off <= TOLERANCE:
            raise InputError(
                f"the {format} file of '{cell}' would compute logits off by {off:.2g}. Allowed: at "
                f"most {TOLERANCE:g}. Nothing was written."
            )
    return output


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="rewire export",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("cell", type=Path, help="folder of a trained cell, or its weights file")
    parser.add_argument("--format", choices=FORMATS, required=True)
    parser.add_argument("--output", type=Path, help="file to write (default: ./CELL.SUFFIX)")
    chosen = parser.parse_args(arguments)
    print(f"wrote {export(chosen.cell, chosen.format, chosen.output)}")
