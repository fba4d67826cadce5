"""Who is measured, and the virtual environment of each."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

__all__ = ["INKPROOF", "PEERS", "ROOT", "Peer", "environment_variables", "prepare"]

ROOT = Path(__file__).resolve().parent.parent
PEERS_FOLDER = Path(__file__).resolve().parent / "peers"
# What would make a peer behave otherwise than it does out of the box.
STRIPPED = ("GOMP_", "JAX_", "KERAS_", "KMP_", "MKL_", "OMP_", "OPENBLAS_", "PYTHON", "TF_", "XLA_")


@dataclass(frozen=True, kw_only=True)
class Peer:
    """One program that does the work.

    Parameters
    ----------
    name : also the name of its environment and of its requirements in ``peers/``
    label : what the table calls it
    worker : its script in ``peers/``
    kind : ``"training"``, or ``"sgemm"`` for a rate of matrix products
    library : passed on to the worker
    environment : the name of its environment where that is another peer's, too
    variables : environment variables that choose it or keep it quiet and on the CPU
    """

    name: str
    label: str
    worker: str
    kind: Literal["training", "sgemm"] = "training"
    library: str = ""
    environment: str = ""
    variables: dict[str, str] = field(default_factory=dict)


def _keras(backend: str, label: str) -> Peer:
    return Peer(
        name=f"keras-{backend}",
        label=f"Keras on {label}",
        worker="keras_fit.py",
        variables={
            "CUDA_VISIBLE_DEVICES": "-1",
            "JAX_PLATFORMS": "cpu",
            "KERAS_BACKEND": backend,
            "KERAS_HOME": str(ROOT / "build" / "bench" / "keras-home"),
            "TF_CPP_MIN_LOG_LEVEL": "2",
        },
    )


INKPROOF = Peer(name="inkproof", label="Inkproof", worker="inkproof_train.py")
PEERS = {
    peer.name: peer
    for peer in (
        Peer(
            name="inkproof-bfloat16",
            label="Inkproof, bfloat16",
            worker="inkproof_train.py",
            library="bfloat16",
        ),
        _keras("tensorflow", "TensorFlow"),
        _keras("jax", "JAX"),
        _keras("torch", "PyTorch"),
        Peer(
            name="torch-eager",
            label="PyTorch, eager",
            worker="torch_eager.py",
            variables={"CUDA_VISIBLE_DEVICES": "-1"},
        ),
        Peer(
            name="torch-channels-last",
            label="PyTorch, eager, channels_last",
            worker="torch_eager.py",
            library="channels_last",
            environment="torch-eager",
            variables={"CUDA_VISIBLE_DEVICES": "-1"},
        ),
        Peer(
            name="torch-bfloat16",
            label="PyTorch, eager, channels_last, bfloat16 autocast",
            worker="torch_eager.py",
            library="autocast",
            environment="torch-eager",
            variables={"CUDA_VISIBLE_DEVICES": "-1"},
        ),
        Peer(
            name="torch-compile",
            label="PyTorch, torch.compile",
            worker="torch_eager.py",
            library="compile",
            environment="torch-eager",
            variables={"CUDA_VISIBLE_DEVICES": "-1"},
        ),
        Peer(name="scikit-learn", label="scikit-learn's MLPClassifier", worker="sklearn_mlp.py"),
        Peer(name="mkl", label="MKL", worker="sgemm.py", kind="sgemm", library="mkl"),
        Peer(
            name="openblas",
            label="OpenBLAS in NumPy",
            worker="sgemm.py",
            kind="sgemm",
            library="openblas",
        ),
    )
}


def environment_variables(peer: Peer) -> dict[str, str]:
    """Give a worker's environment: the user's, but for settings of threads and libraries."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(STRIPPED)}
    return kept | peer.variables


def prepare(peer: Peer) -> Path:
    """Make a peer's environment where it is not there yet; give its Python.

    Raises
    ------
    subprocess.CalledProcessError : something could not be installed
    """
    if peer.worker == INKPROOF.worker:
        return Path(sys.executable)
    name = peer.environment or peer.name
    folder = ROOT / "build" / "bench" / name
    python = folder / "bin" / "python"
    requirements = PEERS_FOLDER / f"{name}.txt"
    stamp = folder / "requirements.txt"
    wanted = requirements.read_text(encoding="utf-8")
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == wanted:
        return python
    print(f"installing {name} into {folder.relative_to(ROOT)}", file=sys.stderr, flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    venv.create(folder, with_pip=True)
    install = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    subprocess.run([*install, "--requirement", str(requirements)], check=True)
    shutil.copy(requirements, stamp)
    return python
