"""Wherever a cell is computed: the same record; stopped, it saves; killed, it resumes; impossible, an error says so."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
import types

import psutil
import pytest
from helpers import cli
from helpers.examples import example

from ablate.core import plugins
from ablate.core.errors import SpecError
from ablate.execution import executors
from ablate.execution.command import Command
from ablate.execution.executors import slurm as slurm_module
from ablate.execution.executors.local import Local
from ablate.execution.executors.ray import Ray, _fit
from ablate.execution.executors.slurm import Slurm
from ablate.planning import planner
from ablate.runs.record import INTERRUPTED
from ablate.runs.store import Folder, Store

FILE = """
name: tiny
imports: [holding_metric]
set: {network.width: 8, network.attention: []}
plan: [{list: [{label: short}, {label: long, set: {metric: holding}}]}]
"""
BUDGET = {
    "profile.images": 480,
    "profile.batch": 16,
    "profile.evaluation.samples": 64,
    "profile.checkpoint_every": 160,
}
# where a file `hold` names another file, the first step after that other file appeared takes until SIGTERM arrives
HOLDING = """
import pathlib, signal, time
from dataclasses import dataclass
import ablate
from ablate.ingredients.metric import PseudoHuber

HOLD = pathlib.Path(__file__).with_name("hold")

@ablate.AXES["metric"]("holding")
@dataclass(frozen=True)
class Holding(PseudoHuber):
    "The default metric, which takes its time once."

    def __call__(self, x, y):
        if HOLD.exists() and pathlib.Path(HOLD.read_text()).exists():
            seen, before = [], signal.getsignal(signal.SIGTERM)
            signal.signal(signal.SIGTERM, lambda *what: (seen.append(1), before(*what)))
            HOLD.unlink()
            while not seen:
                time.sleep(0.01)
        return super().__call__(x, y)
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """The folder of the experiment file and of its plugin, which workers find too."""
    place = tmp_path_factory.mktemp("place")
    (place / "holding_metric.py").write_text(HOLDING)
    (place / "tiny.yaml").write_text(FILE)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(place)
        yield place


@pytest.fixture(scope="module")
def cells(place):
    """The short cell with seeds 0 and 1, and the long one."""
    experiment = planner.load(place / "tiny.yaml", overrides=BUDGET, seeds=(0, 1))
    short, long = experiment.rows
    return [experiment.cells[key] for key in (*short.keys, long.keys[0])]


@pytest.fixture(scope="module")
def local(cells, tmp_path_factory):
    """A runs directory where `Local` has computed the first short cell and the long one, undisturbed."""
    store = Store(tmp_path_factory.mktemp("local") / "runs")
    folders = [store.prepare(cell).path for cell in (cells[0], cells[-1])]
    assert computed(Local(1, ["cpu"], 1), folders) == dict.fromkeys(folders, 0)
    return store


@pytest.fixture
def fresh(local, tmp_path):
    """A runs directory without cells, with the extractor that takes seconds to train."""
    shutil.copytree(local.cache, tmp_path / "runs" / "cache")
    return Store(tmp_path / "runs")


def collected(executor, cells=1, timeout=90):
    """The exit codes of so many cells that end."""
    codes, deadline = {}, time.monotonic() + timeout
    while len(codes) < cells and time.monotonic() < deadline:
        codes |= executor.ended()
        time.sleep(0.05)
    return codes


def computed(executor, folders):
    """The exit codes of all folders, submitted while there is room."""
    codes, waiting = {}, list(folders)
    while waiting:
        while waiting and executor.has_room():
            executor.submit(waiting.pop())
        codes |= collected(executor)
    return codes | collected(executor, len(folders) - len(codes))


def held(executor, place, folder):
    """Submit a long cell, and wait until it stands still in a step with a checkpoint behind it."""
    (place / "hold").write_text(str(folder / "checkpoint.previous.pt"))
    executor.submit(folder)
    cli.wait_for(lambda: not (place / "hold").exists() or executor.ended())
    assert not (place / "hold").exists(), (folder / "log.txt").read_text()


def record(folder):
    """A record without what differs between two undisturbed runs."""
    found = json.loads((folder / "record.json").read_text())
    del found["wall_s"]
    for name in ("device", "commit", "dirty"):  # the checkout may change while a test runs
        del found["provenance"][name]
    return found


def killed_stopped_and_resumed(executor, store, local, cells, place):
    """What ends a cell ends no other, and a cell resumes from its checkpoint to the undisturbed record."""
    other, long = (store.prepare(cell).path for cell in cells[1:])
    held(executor, place, long)
    executor.submit(other)
    cli.wait_for((other / "pid").exists)
    os.kill(int((other / "pid").read_text()), signal.SIGKILL)
    assert collected(executor) == {other: -signal.SIGKILL}

    executor.submit(other)
    executor.stop(long)
    assert collected(executor) == {long: INTERRUPTED}
    assert Folder(long).load("cpu")
    executor.cancel(30)  # a cell that has not started never does
    codes = executor.ended()
    assert codes.keys() == {other}
    assert set(codes.values()) <= {INTERRUPTED, -signal.SIGTERM}
    assert not any((f / "record.json").exists() or Folder(f).held() for f in (long, other))

    assert computed(executor, [long]) == {long: 0}
    assert "from step" in (long / "log.txt").read_text()
    assert record(long) == record(local.path / long.name)


CLUSTER = """#!{python}
# What Slurm's commands do, for one user on one machine: a job is a session whose leader is the batch script.
import os, pathlib, shutil, signal, subprocess, sys
import psutil

name, words, jobs = pathlib.Path(sys.argv[0]).name, sys.argv[1:], pathlib.Path(__file__).parent
options = dict(w.lstrip("-").split("=", 1) for w in words if "=" in w)
alive = [p.name for p in jobs.glob("[0-9]*") if psutil.pid_exists(int(p.name))]
if name == "sinfo":
    print("main (null)")
elif name == "squeue":
    print(*alive)
elif name == "sbatch":
    if "gone" in pathlib.Path(words[0]).read_text():
        sys.exit("sbatch: error: invalid account gone")
    script = shutil.copy(words[0], jobs / "script.sh")
    shell = "export SLURM_JOB_ID=$$ SLURM_PROCID=0 SLURM_NTASKS=1; . " + str(script)
    quiet = dict(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # sbatch returns, the job continues
    job = subprocess.Popen(["sh", "-c", shell], start_new_session=True, **quiet)
    (jobs / str(job.pid)).touch()
    print("Submitted batch job", job.pid)
elif name == "srun":
    start = next(i for i, w in enumerate(words) if "python" in w)
    at = lambda flag: open(words[words.index(flag) + 1].replace("%j", str(os.getppid())).replace("%t", "0"), "a")
    sys.exit(subprocess.call(words[start:], stdout=at("--output"), stderr=at("--error")))
elif name == "scancel" and options.get("state") != "PENDING" and words[-1] in alive:
    for process in psutil.Process(int(words[-1])).children(recursive=True):
        if "srun" not in " ".join(process.cmdline()):
            process.send_signal(getattr(signal, "SIG" + options.get("signal", "TERM")))
"""


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """A machine with Slurm's commands."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("sbatch", "srun", "squeue", "scancel", "sinfo"):
        (folder / name).write_text(CLUSTER.format(python=sys.executable))
        (folder / name).chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


@pytest.mark.parametrize("cluster", ["local", pytest.param("slurm", marks=pytest.mark.slow)])
def test_slurm(cluster, slurm, fresh, local, cells, place, monkeypatch):
    pytest.importorskip("submitit", reason="needs the extra slurm")
    monkeypatch.setattr(slurm_module, "RESULTS_S", 0.1)
    executor = Slurm(Slurm.Options(cluster=cluster), fresh.path / "submitit", workers=3)
    killed_stopped_and_resumed(executor, fresh, local, cells, place)


def test_what_slurm_cannot_do_is_refused_at_once(slurm, tmp_path):
    pytest.importorskip("submitit", reason="needs the extra slurm")
    for wrong, message in [
        ({"gpus": 1}, "slurm: gpus: 1: the cluster has none"),
        ({"gpus": 1, "cluster": "local"}, "slurm: gpus: 1: this machine has no GPU"),
        ({"partition": "mian"}, "slurm: partition: 'mian'; did you mean 'main'?"),
    ]:
        with pytest.raises(SpecError) as caught:
            Slurm(Slurm.Options(**wrong), tmp_path)
        assert str(caught.value) == message
    with pytest.raises(SpecError, match="sbatch refuses the job: error: invalid account gone"):
        Slurm(Slurm.Options(extra={"account": "gone"}), tmp_path).submit(tmp_path)


def test_no_slurm_on_this_machine(tmp_path, monkeypatch):
    pytest.importorskip("submitit", reason="needs the extra slurm")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(SpecError, match="there is no sbatch on this machine"):
        Slurm(Slurm.Options(), tmp_path)


@pytest.mark.parametrize(("extra", "package"), [("ray", "ray"), ("slurm", "submitit")])
def test_a_package_that_is_not_installed_is_named_with_its_extra(extra, package, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, package, None)
    kind = executors.named(extra)
    with pytest.raises(SpecError) as caught:
        kind(kind.Options(), *([tmp_path] if extra == "slurm" else []))
    wanted = f"{extra} needs the extra {extra!r}: in your clone, run pip install -e '.[{extra}]'"
    assert str(caught.value) == wanted


@pytest.fixture(scope="module")
def ray():
    """ray, connected to two nodes of one processor each that are processes of this machine."""
    ray = pytest.importorskip("ray", reason="needs the extra ray")
    from ray.cluster_utils import Cluster

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    small = {"num_cpus": 1, "object_store_memory": 100 * 2**20, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=small)
    cluster.add_node(**small)
    Ray(Ray.Options(address=cluster.address))  # connects this process
    yield cluster
    ray.shutdown()
    cluster.shutdown()


@pytest.mark.slow
def test_ray_on_two_nodes(ray, fresh, local, cells, place):
    killed_stopped_and_resumed(Ray(Ray.Options()), fresh, local, cells, place)


@pytest.mark.slow
@pytest.mark.parametrize("dies", ["worker", "node"])
def test_a_worker_or_a_node_that_dies_is_a_code_and_nothing_is_repeated(dies, ray, fresh, cells, place):
    node = ray.add_node(num_cpus=2, object_store_memory=100 * 2**20)
    executor, folder = Ray(Ray.Options(cpus=2)), fresh.prepare(cells[-1]).path
    held(executor, place, folder)
    if dies == "worker":
        psutil.Process(int((folder / "pid").read_text())).parent().kill()
    ray.remove_node(node, allow_graceful=False)
    assert collected(executor) == {folder: -signal.SIGKILL}
    assert "ray: " in (folder / "log.txt").read_text()
    cli.wait_for(lambda: not Folder(folder).held())


@pytest.mark.slow
def test_what_no_node_can_hold_is_refused_at_once(ray):
    started = time.monotonic()
    for wrong, message in [
        ({"gpus": 0.5}, "ray: a cell needs 1 CPU and 0.5 GPU on one node, but the cluster has "),
        ({"cpus": 3}, "ray: a cell needs 3 CPU on one node, but the cluster has "),
    ]:
        with pytest.raises(SpecError, match=message):
            Ray(Ray.Options(**wrong))
    assert time.monotonic() - started < 10


class RayError(Exception):
    """The base of ray's errors, of a module that stands for ray below."""


class RayTaskError(RayError):
    """A task raised."""


class TaskCancelledError(RayError):
    """A task was cancelled before it began, or ended."""


@pytest.fixture
def made_up_ray(monkeypatch):
    """A module like ray with room for two cells; a task's reference is its folder, `results` has how it ends."""
    made = types.ModuleType("ray")
    made.results, made.cancelled = {}, []

    def get(task):
        if isinstance(made.results[task], Exception):
            raise made.results[task]
        return made.results[task]

    made.exceptions = types.SimpleNamespace(
        RayError=RayError, RayTaskError=RayTaskError, TaskCancelledError=TaskCancelledError
    )
    made.is_initialized = lambda: True
    made.nodes = lambda: [{"Alive": True, "Resources": {"CPU": 2}}, {"Alive": False, "Resources": {"CPU": 9}}]
    made.cluster_resources = lambda: {"CPU": 2}
    made.remote = lambda **wishes: lambda function: types.SimpleNamespace(remote=lambda c: c.folder)
    made.wait = lambda tasks, num_returns, timeout: ([t for t in tasks if t in made.results], [])
    made.get, made.cancel = get, lambda task, force: made.cancelled.append((task, force))
    monkeypatch.setitem(sys.modules, "ray", made)
    return made


@pytest.mark.parametrize(
    ("result", "at_once", "code", "line"),
    [
        (0, None, 0, ""),
        (-11, None, -11, ""),
        (RayTaskError("no such module"), None, 1, "ray: no such module\n"),
        (RayError("the node died\nmore"), None, -signal.SIGKILL, "ray: RayError: the node died\n"),
        (TaskCancelledError(), False, INTERRUPTED, ""),
        (TaskCancelledError(), True, -signal.SIGKILL, ""),
    ],
)
def test_the_end_of_a_task_of_ray_is_an_exit_code(result, at_once, code, line, made_up_ray, tmp_path):
    executor = Ray(Ray.Options())
    executor.submit(tmp_path)
    assert executor.ended() == {}
    if at_once is not None:
        executor.stop(tmp_path, at_once)
        assert made_up_ray.cancelled == [(str(tmp_path), at_once)]
    made_up_ray.results[str(tmp_path)] = result
    assert executor.ended() == {tmp_path: code}
    assert not executor.running
    log = tmp_path / "log.txt"
    assert (log.read_text() if log.exists() else "") == line


def test_ray_takes_as_many_cells_as_its_living_nodes_hold(made_up_ray, tmp_path):
    executor = Ray(Ray.Options())
    assert executor.workers == 2
    for name in ("a", "b"):
        assert executor.has_room()
        executor.submit(tmp_path / name)
    assert not executor.has_room()
    with pytest.raises(
        SpecError, match="a cell needs 3 CPU on one node, but the cluster has 2 CPU and 0 GPU"
    ):
        Ray(Ray.Options(cpus=3))


@pytest.mark.parametrize(
    ("node", "cpus", "gpus", "room"),
    [
        ({"CPU": 8}, 1, 0, 8),
        ({"CPU": 8}, 3, 0, 2),
        ({"CPU": 8}, 1, 0.5, 0),
        ({"CPU": 8, "GPU": 2}, 1, 0.5, 4),
        ({"CPU": 8, "GPU": 2}, 1, 0.4, 4),  # the rest of a GPU and the rest of another make no 0.4
        ({"CPU": 64, "GPU": 1}, 1, 0.1, 10),
        ({"CPU": 8, "GPU": 4}, 1, 2, 2),
        ({"CPU": 1, "GPU": 4}, 1, 0.25, 1),
    ],
)
def test_how_many_cells_a_node_holds(node, cpus, gpus, room):
    assert _fit(node, cpus, gpus) == room


def test_a_command_has_the_threads_and_the_paths_of_a_local_worker(monkeypatch, tmp_path):
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.syspath_prepend(tmp_path)
    changed = Command.of(tmp_path, "cpu", 2).environment
    assert (changed["OMP_NUM_THREADS"], changed["MKL_NUM_THREADS"]) == ("3", "2")
    assert str(tmp_path) in changed["PYTHONPATH"].split(os.pathsep)
    assert Command.of(tmp_path, "cpu", 2).arguments[1:] == [
        "-m",
        "ablate.runs.worker",
        str(tmp_path),
        "cpu",
        "2",
    ]


def test_every_executor_implements_the_base_class_and_describes_its_options():
    assert executors.named("ray") is Ray
    assert {"local", "ray", "slurm"} <= executors.EXECUTORS.keys()
    for name, kind in executors.EXECUTORS.items():
        assert kind.name == name
        assert not kind.__abstractmethods__
        assert all(field.description for field in kind.Options.model_fields.values())


def test_finding_the_executors_imports_none_of_their_packages():
    code = "from ablate.execution import executors; executors.named('local'); import sys; "
    code += "print(*{'ray', 'submitit', 'fsspec', 'torch'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


@pytest.mark.parametrize(
    ("grace_s", "obeys", "stops"), [(30, True, [False]), (0.2, False, [False, True]), (0, True, [True])]
)
def test_cancelling_asks_before_it_kills(grace_s, obeys, stops, monkeypatch, tmp_path):
    monkeypatch.setattr(executors, "EXECUTORS", {})

    class Scripted(executors.Executor, name="scripted"):
        def start(self, options, request):
            pytest.fail("nothing is started")

        def launch(self, folder):
            return []  # the requests to stop

        def exit_codes(self):
            codes = {
                f: -9 if True in asked else 130 if asked and obeys else None
                for f, asked in self.running.items()
            }
            return {f: code for f, code in codes.items() if code}

        def stop(self, folder, at_once=False):
            self.running[folder].append(at_once)

    executor = Scripted(1)
    executor.submit(tmp_path)
    asked = executor.running[tmp_path]
    assert not executor.has_room()
    executor.cancel(grace_s)
    assert asked == stops
    assert executor.ended() == {tmp_path: -9 if stops[-1] else 130}
    assert executor.ended() == {}
    assert executor.has_room()


def test_a_name_belongs_to_one_class():
    with pytest.raises(
        ValueError, match=r"local is registered already, by ablate\.execution\.executors\.local"
    ):
        type("Other", (executors.Executor,), {}, name="local")
    assert executors.EXECUTORS["local"] is Local


@pytest.mark.slow
def test_an_executor_in_a_file_of_its_own_computes_the_records_of_this_machine(
    fresh, local, cells, place, tmp_path, monkeypatch
):
    """The example of CONTRIBUTING, put into a folder of executors."""
    (tmp_path / "niced.py").write_text(example("An executor"))
    monkeypatch.setattr(executors, "__path__", [*executors.__path__, str(tmp_path)])
    monkeypatch.setattr(executors, "EXECUTORS", dict(executors.EXECUTORS))
    plugins.load.cache_clear()
    words = [part for pair in BUDGET.items() for part in ("--set", "{}={}".format(*pair))]
    shutil.copytree(
        local.path / cells[-1].key, fresh.path / cells[-1].key
    )  # the long cell has its record already
    options = ["--executor", "niced", "--executor-option", "level=3", "--runs-dir", fresh.path]
    done = cli.call("run", "tiny.yaml", "--seeds", "0", "--no-doctor", "--json", *options, *words, cwd=place)
    plugins.load.cache_clear()
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["computed"] == [cells[0].key]
    assert record(fresh.path / cells[0].key) == record(local.path / cells[0].key)


def test_an_executor_of_an_installed_package_is_found_and_its_options_are_checked(
    place, tmp_path, monkeypatch
):
    package = tmp_path / "niced-1.dist-info"
    package.mkdir()
    (tmp_path / "niced.py").write_text(example("An executor"))
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: niced\nVersion: 1\n")
    (package / "entry_points.txt").write_text("[ablate.executors]\nniced = niced\n")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *filter(None, sys.path)]))
    wrong = ["--executor", "niced", "--executor-option", "levle=3"]
    done = cli.launch("run", "tiny.yaml", *wrong, cwd=place)
    message = "error: --executor-option.levle: unknown key; did you mean 'level'?\n"
    assert (done.returncode, done.stderr) == (2, message)
