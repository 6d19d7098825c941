import json
import os
import subprocess
import sys
import tempfile

import pytest
import torch

from ablate.core import hardware
from ablate.core.errors import SpecError


def test_numpy_and_scipy_compute_with_as_many_threads_as_torch():
    """Unlimited, the FIDs of two workers on two cores take three times as long."""
    code = (
        "import json, torch, scipy.linalg, ablate.core.hardware as m; from threadpoolctl import threadpool_info; "
        "m.use(1);"
        "print(json.dumps([torch.get_num_threads(), *(pool['num_threads'] for pool in threadpool_info())]))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    counts = json.loads(out)
    assert len(counts) > 2
    assert set(counts) == {1}


@pytest.mark.parametrize(
    ("variables", "most"),
    [
        ({"SLURM_CPUS_PER_TASK": "1"}, 1),
        ({"SLURM_CPUS_ON_NODE": "1"}, 1),
        ({"SLURM_CPUS_PER_TASK": "1", "SLURM_CPUS_ON_NODE": "4"}, 1),
        ({"SLURM_CPUS_PER_TASK": "100000"}, None),
        ({"SLURM_CPUS_PER_TASK": "many"}, None),
        ({"SLURM_CPUS_PER_TASK": "0"}, None),
        ({}, None),
    ],
)
def test_a_slurm_task_uses_its_own_cores(monkeypatch, variables, most):
    for name in ("SLURM_CPUS_PER_TASK", "SLURM_CPUS_ON_NODE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert hardware.cores() == (most or len(os.sched_getaffinity(0)))


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """A machine with so many GPUs that torch finds, and a value of CUDA_VISIBLE_DEVICES."""

    def make(gpus, value):
        monkeypatch.setattr(hardware, "DRIVERS", (str(tmp_path),))
        monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
        if value is None:
            monkeypatch.delenv(hardware.VISIBLE, raising=False)
        else:
            monkeypatch.setenv(hardware.VISIBLE, value)

    return make


@pytest.mark.parametrize(
    ("gpus", "value", "named"),
    [
        (2, None, None),
        (2, "1,0", ["1", "0"]),
        (2, " 0 , 1 ", ["0", "1"]),
        (1, "GPU-8932f937-d72c,-1,0", ["GPU-8932f937-d72c"]),
        (1, "MIG-1,MIG-2", ["MIG-1", "MIG-2"]),
    ],
)
def test_gpus_that_are_named_are_used(machine, gpus, value, named):
    machine(gpus, value)
    assert hardware.visible() == named
    assert hardware.devices() == [f"cuda:{i}" for i in range(gpus)]


@pytest.mark.parametrize("value", ["", "-1", "NoDevFiles", "none", "-1,0"])
def test_hidden_gpus_are_not_looked_for(machine, monkeypatch, value):
    machine(2, value)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: pytest.fail("it was asked"))
    assert hardware.devices() == ["cpu"]


@pytest.mark.parametrize(("gpus", "value"), [(0, "7"), (1, "0,7"), (0, "GPU-0000"), (0, "MIG-1"), (0, "x")])
def test_a_gpu_that_is_not_there_is_one_line(machine, gpus, value):
    """CUDA would leave it out without a word, and the CPU would compute instead."""
    machine(gpus, value)
    with pytest.raises(SpecError) as raised:
        hardware.devices()
    assert raised.value.problems == [
        f"CUDA_VISIBLE_DEVICES={value}: torch finds {gpus} of these GPUs; "
        "name those that exist, or set it to -1 to compute on the CPU"
    ]


@pytest.mark.parametrize("value", ["0", "7", "GPU-0000"])
def test_a_machine_without_a_driver_computes_on_its_cpu(machine, monkeypatch, value):
    machine(0, value)
    monkeypatch.setattr(hardware, "DRIVERS", ())
    assert hardware.devices() == ["cpu"]


@pytest.mark.parametrize("length", [0, 75, 113, 240])
def test_workers_start_below_any_temporary_folder(tmp_path, length):
    """Each makes a socket there, whose path must stay below 104 bytes."""
    place = tmp_path / "t"
    place /= "x" * max(1, length - len(str(place)) - 1)
    place.mkdir(parents=True)
    code = (
        "import ablate.core.hardware as h; h.PRELOAD.clear(); p = h.forkserver().Process(target=print, args=('here',));"
        "p.start(); p.join(); import tempfile; print(tempfile.gettempdir()); raise SystemExit(p.exitcode)"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env={**os.environ, "TMPDIR": str(place)}, capture_output=True, text=True)
    assert done.stdout.split() == ["here", str(place)]  # other files stay there
    assert (done.returncode, done.stderr) == (0, "")


def test_no_short_folder_is_one_line(monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", "/" + "x" * 112)
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(SpecError, match=r"TMPDIR=/xxx.*: 113 characters; sockets need a path of at most"):
        hardware.shorten_sockets()
