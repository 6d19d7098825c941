"""Wherever a cell is computed: the same record; stopped, it saves; ended, it stands alone; impossible, it is said."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ablate.core.errors import SpecError
from ablate.execution import executors
from ablate.execution.executors import mirror
from ablate.execution.executors.command import Command
from ablate.execution.executors.local import Local
from ablate.execution.executors.mirror import Mirror
from ablate.execution.executors.ray import Ray, _fit
from ablate.execution.executors.slurm import Slurm
from ablate.planning import planner
from ablate.runs.record import INTERRUPTED, NO_DISK
from ablate.runs.store import Folder, Store

FILE = "name: tiny\nset: {network.width: 8, network.attention: []}\nplan: [{list: [{label: a}]}]\n"
BUDGET = {"profile.batch": 16, "profile.evaluation.samples": 64, "profile.checkpoint_every": 160}


def work(folder, device, threads):
    from ablate.runs.worker import work

    work(folder, device, threads)


def cells(place, images=512, seeds=(0,)):
    (place / "tiny.yaml").write_text(FILE)
    planned = planner.load(place / "tiny.yaml", overrides={**BUDGET, "profile.images": images}, seeds=seeds)
    return list(planned.cells.values())


def computed(executor, folders, timeout=150):
    """The exit codes of all folders, submitted as there is room."""
    waiting, codes, deadline = list(folders), {}, time.monotonic() + timeout
    while (waiting or executor.running or len(codes) < len(folders)) and time.monotonic() < deadline:
        while waiting and executor.free():
            executor.submit(waiting.pop())
        codes |= executor.ended()
        time.sleep(0.05)
    return codes


def until(true, timeout=90):
    deadline = time.monotonic() + timeout
    while not true() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert true()


def record(folder):
    found = json.loads((folder / "record.json").read_text())
    del found["wall_s"]
    for name in ("device", "commit", "dirty"):  # the checkout may change while a test runs
        del found["provenance"][name]
    return found


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    """A runs directory where `Local` has computed a short cell with two seeds and a longer one."""
    place = tmp_path_factory.mktemp("local")
    store = Store(place / "runs")
    planned = cells(place, seeds=(0, 1)) + cells(place, images=2400)
    pool = Local(work, 1, ["cpu"], 1)
    folders = [store.prepare(cell).path for cell in planned]
    assert set(computed(pool, folders).values()) == {0}
    return store


@pytest.fixture
def fresh(local, tmp_path):
    """A runs directory without cells, with the extractor that takes seconds to train."""
    shutil.copytree(local.cache, tmp_path / "runs" / "cache")
    return Store(tmp_path / "runs")


def short(store, seeds=(0,)):
    return [store.prepare(cell).path for cell in cells(store.path.parent, seeds=seeds)]


def long(store):
    return store.prepare(cells(store.path.parent, images=2400)[0]).path


def collected(executor, timeout=60):
    """The next exit codes."""
    codes, deadline = {}, time.monotonic() + timeout
    while not codes and time.monotonic() < deadline:
        codes |= executor.ended()
        time.sleep(0.05)
    return codes


def equal(executor, store, local):
    """Every cell ends in the record that `Local` gives it."""
    folders = short(store, seeds=(0, 1))
    assert computed(executor, folders) == dict.fromkeys(folders, 0)
    for folder in folders:
        assert record(folder) == record(local.path / folder.name)


def goes_on(executor, store, local):
    """Stopped in the middle a cell leaves a checkpoint and 130; submitted again it ends in the undisturbed record."""
    folder = long(store)
    executor.submit(folder)
    until((folder / "checkpoint.previous.pt").exists)
    executor.stop(folder)
    assert collected(executor) == {folder: INTERRUPTED}
    assert not (folder / "record.json").exists()
    assert Folder(folder).load("cpu")
    assert computed(executor, [folder]) == {folder: 0}
    assert record(folder) == record(local.path / folder.name)
    assert "goes on from step" in (folder / "log.txt").read_text()


def dies_alone(executor, store, kill):
    """A cell that is killed has a code that says so, and its neighbour ends as ever."""
    folder, (other,) = long(store), short(store)
    executor.submit(folder)
    executor.submit(other)
    until((folder / "checkpoint.pt").exists)
    kill(int((folder / "pid").read_text()))
    assert computed(executor, []) | collected(executor, 0) == {folder: -signal.SIGKILL, other: 0}
    assert not (folder / "record.json").exists()


def ends(executor, store):
    """Cancelled, nothing runs on, and what had not begun never does."""
    folders = [long(store), *short(store, seeds=(2, 3))]
    for folder in folders:
        executor.submit(folder)
    until((folders[0] / "checkpoint.pt").exists)
    executor.cancel(30)
    codes = executor.ended()
    assert codes[folders[0]] == INTERRUPTED
    assert set(codes.values()) <= {INTERRUPTED, -signal.SIGTERM}
    assert not any((f / "record.json").exists() or Folder(f).held() for f in folders)


BEHAVIOURS = pytest.mark.parametrize(
    "behaves",
    [
        equal,
        goes_on,
        lambda e, store, _: dies_alone(e, store, lambda pid: os.kill(pid, signal.SIGKILL)),
        lambda e, store, _: ends(e, store),
    ],
    ids=["equal", "goes_on", "dies_alone", "ends"],
)

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
    quiet = dict(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # sbatch returns, the job goes on
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


@BEHAVIOURS
@pytest.mark.parametrize("cluster", ["local", pytest.param("slurm", marks=pytest.mark.slow)])
def test_slurm(cluster, behaves, slurm, fresh, local):
    pytest.importorskip("submitit", reason="needs the extra slurm")
    behaves(Slurm(fresh.path / "submitit", workers=3, cluster=cluster), fresh, local)


def test_what_slurm_can_not_do_is_said_at_once(slurm, tmp_path):
    pytest.importorskip("submitit", reason="needs the extra slurm")
    for wrong, said in [
        ({"gpus": 1}, "slurm: gpus: 1: the cluster has none"),
        ({"gpus": 1, "cluster": "local"}, "slurm: gpus: 1: this machine has none"),
        ({"partition": "mian"}, "slurm: partition: 'mian'; did you mean 'main'?"),
        ({"cluster": "slrum"}, "slurm: cluster: 'slrum'; did you mean 'slurm'?"),
    ]:
        with pytest.raises(SpecError) as caught:
            Slurm(tmp_path, **wrong)
        assert str(caught.value) == said
    with pytest.raises(SpecError, match="sbatch refuses the job: error: invalid account gone"):
        Slurm(tmp_path, extra={"account": "gone"}).submit(tmp_path)


def test_no_slurm_on_this_machine(tmp_path, monkeypatch):
    pytest.importorskip("submitit", reason="needs the extra slurm")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(SpecError, match="there is no sbatch on this machine"):
        Slurm(tmp_path)


@pytest.mark.parametrize(("extra", "make"), [("ray", Ray), ("slurm", lambda: Slurm(Path("logs")))])
def test_a_package_that_is_not_installed_is_named_with_its_extra(extra, make, monkeypatch):
    monkeypatch.setitem(sys.modules, {"ray": "ray", "slurm": "submitit"}[extra], None)
    with pytest.raises(SpecError) as caught:
        make()
    assert str(caught.value) == f"{extra} needs the extra {extra}: pip install ablate[{extra}]"


@pytest.fixture(scope="module")
def ray():
    """ray, connected to two nodes of one processor each that are processes of this machine."""
    ray = pytest.importorskip("ray", reason="needs the extra ray")
    from ray.cluster_utils import Cluster

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    small = {"num_cpus": 1, "object_store_memory": 100 * 2**20, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=small)
    cluster.add_node(**small)
    Ray(address=cluster.address)  # connects this process
    yield cluster
    ray.shutdown()
    cluster.shutdown()


@pytest.mark.slow
@BEHAVIOURS
def test_ray_on_two_nodes(behaves, ray, fresh, local):
    behaves(Ray(), fresh, local)


@pytest.mark.slow
def test_ray_on_nodes_that_share_a_url_only(ray, fresh, local, tmp_path):
    equal(Ray(mirror=f"file://{tmp_path}/mirror"), fresh, local)
    assert {p.name for p in (tmp_path / "mirror").iterdir()} == {p.name for p in fresh.path.iterdir()}


@pytest.mark.slow
def test_stopped_behind_a_mirror_a_cell_goes_on(ray, fresh, local, tmp_path):
    folder, executor = long(fresh), Ray(mirror=f"file://{tmp_path}/mirror")
    executor.submit(folder)
    assert Folder(folder).held()
    time.sleep(9)
    executor.stop(folder)
    assert collected(executor) == {folder: INTERRUPTED}
    assert not Folder(folder).held()
    assert Folder(folder).load("cpu")
    assert computed(executor, [folder]) == {folder: 0}
    assert record(folder) == record(local.path / folder.name)
    assert not list(folder.glob("checkpoint*"))


@pytest.mark.slow
@pytest.mark.parametrize("dies", ["worker", "node"])
def test_a_worker_or_a_node_that_dies_is_a_code_and_nothing_is_repeated(dies, ray, fresh):
    node = ray.add_node(num_cpus=2, object_store_memory=100 * 2**20)
    executor, folder = Ray(cpus=2), long(fresh)
    executor.submit(folder)
    until((folder / "checkpoint.pt").exists)
    if dies == "worker":
        psutil.Process(int((folder / "pid").read_text())).parent().kill()
    ray.remove_node(node, allow_graceful=False)
    assert collected(executor) == {folder: -signal.SIGKILL}
    assert "ray: " in (folder / "log.txt").read_text()
    until(lambda: not Folder(folder).held())


@pytest.mark.slow
def test_what_no_node_can_hold_is_said_at_once(ray):
    started = time.monotonic()
    for wrong, said in [
        ({"gpus": 0.5}, "ray: a cell needs 1 CPU and 0.5 GPU on one node, but the cluster has "),
        ({"cpus": 3}, "ray: a cell needs 3 CPU on one node, but the cluster has "),
        ({"gpus": 1.5}, "gpus: 1.5: whole GPUs, or a fraction of one"),
        ({"mirror": "nope://x"}, "mirror: 'nope://x': it can not be written: Protocol not known: nope"),
    ]:
        with pytest.raises(SpecError) as caught:
            Ray(**wrong)
        assert said in str(caught.value)
    assert time.monotonic() - started < 10


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


def test_all_executors_have_the_methods_of_the_protocol():
    wanted = {name for name in vars(executors.Executor) if not name.startswith("_")} - {"running"}
    assert {"free", "submit", "ended", "cancel"} <= wanted
    for made in (Local, Ray, Slurm):
        assert wanted <= vars(made).keys()


NAMES = st.sampled_from(
    ["config.json", "log.txt", "checkpoint.pt", "samples/a.png", "record.json", "a b/ü.txt"]
)
FILES = st.dictionaries(NAMES, st.binary(max_size=40), max_size=6)
PROPERTY = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def written(folder, files):
    """Exactly these files in a folder."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def files(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture(params=["file", "memory"])
def url(request, tmp_path):
    """A URL; what one example left there is removed before the next."""

    def empty():
        where = f"{request.param}://{tmp_path}/mirror"
        fs = Mirror(where, tmp_path / "cell").fs
        if fs.exists(f"{tmp_path}/mirror"):
            fs.rm(f"{tmp_path}/mirror", recursive=True)
        return where

    return empty


@PROPERTY
@given(first=FILES, second=FILES)
def test_what_is_stored_is_fetched(first, second, url, tmp_path):
    """Whatever changes or vanishes between two stores, the other side gets what is here last, and keeps its own."""
    where, here = url(), tmp_path / "here" / "cell"
    sender = Mirror(where, written(here, first))
    sender.store()
    written(here, second)
    for name in second:  # written within one tick of the clock, with the same size: no file system tells
        os.utime(here / name, (1, 1))
    sender.store()
    there = written(tmp_path / "there" / "cell", {"notes.md": b"mine", "checkpoint.pt": b"stale"})
    Mirror(where, there).fetch()
    stale = {} if second else {"checkpoint.pt": b"stale"}  # nothing there says nothing about what is here
    assert files(there) == {"notes.md": b"mine", **stale, **second}


@PROPERTY
@given(here=FILES, there=FILES)
def test_sharing_gives_both_sides_what_either_has_and_changes_nothing(here, there, url, tmp_path):
    where = url()
    Mirror(where, written(tmp_path / "there" / "cache", there)).store()
    mirror = Mirror(where, written(tmp_path / "here" / "cache", here))
    mirror.share()
    assert files(mirror.folder) == {**there, **here}
    other = Mirror(where, written(tmp_path / "other" / "cache", {}))
    other.fetch()
    assert files(other.folder) == {**here, **there}


def test_locks_temporary_files_and_process_ids_stay(url, tmp_path):
    where = url()
    mirror = Mirror(
        where,
        written(tmp_path / "cell", {".lock": b"", ".a.json.x1": b"", "pid": b"1", "b.lock": b"", "c": b""}),
    )
    mirror.store()
    assert mirror.there() == ["c"]


def test_a_copy_that_breaks_off_leaves_what_was_there(url, tmp_path, monkeypatch):
    where = url()
    mirror = Mirror(where, written(tmp_path / "cell", {"a": b"old"}))
    mirror.store()
    (tmp_path / "cell" / "a").write_bytes(b"newer")
    whole = type(mirror.fs).put_file

    def torn(self, source, target, **more):
        whole(self, source, target, **more)
        raise ConnectionError

    monkeypatch.setattr(type(mirror.fs), "put_file", torn)
    with pytest.raises(ConnectionError):
        mirror.store()
    monkeypatch.undo()
    assert mirror.fs.cat_file(f"{mirror.root}/a") == b"old"
    assert mirror.there() == ["a"]
    mirror.store()
    assert mirror.fs.cat_file(f"{mirror.root}/a") == b"newer"


def test_a_cell_is_offered_once_and_what_is_at_the_url_counts(url, tmp_path):
    where, ours = url(), {"config.json": b"{}", "checkpoint.pt": b"ours"}
    folder = written(tmp_path / "cell", ours)
    Mirror(where, folder).offer()
    node = Mirror(where, written(tmp_path / "node" / "cell", {}))
    node.fetch()
    assert files(node.folder) == ours
    (node.folder / "checkpoint.pt").write_bytes(b"further")
    node.store()
    Mirror(where, folder).offer()
    assert node.fs.cat_file(f"{node.root}/checkpoint.pt") == b"further"


@pytest.mark.parametrize(("state", "stays"), [("failed", False), ("finished", True)])
def test_a_failure_at_the_url_is_forgotten_when_the_cell_is_wanted_again(state, stays, url, tmp_path):
    where = url()
    content = {"config.json": b"{}", "record.json": json.dumps({"state": state}).encode()}
    Mirror(where, written(tmp_path / "node" / "cell", content)).store()
    mirror = Mirror(where, written(tmp_path / "cell", {"config.json": b"{}"}))
    mirror.offer()
    assert ("record.json" in mirror.there()) == stays


def on_a_node(monkeypatch, tmp_path, does):
    """A node's temporary folder, and `does` in the place of the command."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr(mirror, "run", does)
    monkeypatch.setattr(mirror, "TRIES_S", (0, 0))
    return mirror.mirrored(Command(str(tmp_path / "cell"), "cpu", 1), f"file://{tmp_path}/mirror")


def test_a_node_brings_a_cell_back_and_leaves_nothing(monkeypatch, tmp_path):
    Mirror(f"file://{tmp_path}/mirror", written(tmp_path / "cell", {"config.json": b"{}"})).offer()

    def does(changed, between):
        here = Path(changed.folder)
        (here / "record.json").write_bytes((here / "config.json").read_bytes())
        (here / "samples" / "a.png").write_bytes(b"x")
        (here.parent / "cache").joinpath("extractor.pt").write_bytes(b"y")
        return 3

    assert on_a_node(monkeypatch, tmp_path, does) == (3, "")
    assert files(tmp_path / "mirror") == {
        "cell/config.json": b"{}",
        "cell/record.json": b"{}",
        "cell/samples/a.png": b"x",
        "cache/extractor.pt": b"y",
    }
    assert not list((tmp_path / "scratch").iterdir())


def test_a_checkpoint_is_brought_back_while_the_command_runs(monkeypatch, tmp_path):
    monkeypatch.setattr(mirror, "EVERY_S", 0)
    seen = []

    def does(changed, between):
        for content in (b"1", b"22"):
            (Path(changed.folder) / "checkpoint.pt").write_bytes(content)
            between()
            seen.append((tmp_path / "mirror" / "cell" / "checkpoint.pt").read_bytes())
        return -9

    assert on_a_node(monkeypatch, tmp_path, does) == (-9, "")
    assert seen == [b"1", b"22"]


def test_what_can_not_be_brought_back_is_kept_and_told(monkeypatch, tmp_path):
    def does(changed, between):
        (Path(changed.folder) / "record.json").write_bytes(b"{}")
        monkeypatch.setattr(Mirror, "put", lambda self, name: 1 / 0)
        between()
        return 0

    code, reason = on_a_node(monkeypatch, tmp_path, does)
    assert code == NO_DISK
    assert "ZeroDivisionError" in reason
    assert (Path(reason.split()[-1]) / "cell" / "record.json").exists()
