"""Clusters: the same results whoever computes them, what a lost worker costs, and how fast Dask is.

python3 benchmarks/cluster.py same FIELDS/       # one process, two, 8 shares, Dask with 1, 2 and 4 threads: same bytes?
python3 benchmarks/cluster.py same CLASSES/ --kind data --count 1200
python3 benchmarks/cluster.py same DATA/ --kind slide --count 16
python3 benchmarks/cluster.py killed FIELDS/     # a worker is killed every 5 seconds
python3 benchmarks/cluster.py deadly             # a unit that kills its process
python3 benchmarks/cluster.py speed FIELDS/      # overhead of Dask over one process; two workers against one
python3 benchmarks/cluster.py speed CELLS/ --kind cells --count 1000
python3 benchmarks/cluster.py machines FIELDS/   # two machines, one of which is switched off half-way

The machines are network namespaces of this one (`ip netns`, for root), each with one core; without them, processes.
All files that a command writes are compared, see job_resume.py.
"""

import argparse
import contextlib
import copy
import os
import pathlib
import random
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import psutil

from benchmarks import job_commands
from Classes import Helpers
from Classes.jobs import run_job
from Classes.jobs.items import Item

# Addresses of the machines' own network; the scheduler and the run are on the first.
MACHINES = {"all-run": "10.77.0.1", "all-one": "10.77.0.2", "all-two": "10.77.0.3"}
PORT = 8786
KILL_EVERY = 5

# Who uses processor time: the run itself, Dask's scheduler and workers, and the processes of the workers that compute.
PARTS = ("run", "scheduler", "workers", "computing")

# Images of a run that shows how long start and end take.
FEW = 2

# Seconds of processor time per second above which workers that have no work still load the project.
LOADING = 0.1


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["same", "killed", "deadly", "speed", "machines"])
    parser.add_argument("sources", nargs="?", type=pathlib.Path, help="folder of images, or a slide")
    parser.add_argument("--kind", choices=job_commands.KINDS, default="field", help=job_commands.HELP)
    words = "number of images, used again if there are fewer (default: 200); of a slide that is made: its side"
    parser.add_argument("--count", type=int, help=words)
    parser.add_argument("--cells", dest="kind", action="store_const", const="cells", help="the same as --kind cells")
    parser.add_argument("--rounds", type=int, default=3, help="of speed")
    options = parser.parse_args(arguments)
    print(f"Load of this machine before: {os.getloadavg()[0]:.1f} with {os.cpu_count()} cores", flush=True)
    # Also after SIGTERM, the processes are ended and the machines are removed.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory() as folder, machines() as names:
        work = Work(pathlib.Path(folder), names, options)
        {"same": same, "killed": killed, "deadly": deadly, "machines": switched_off}.get(
            options.what, lambda work: speed(work, options.rounds)
        )(work)


@contextlib.contextmanager
def machines():
    """Make the network namespaces; yields their names, or three times None."""
    with contextlib.ExitStack() as stack:
        try:
            for name in MACHINES:
                call("ip", "netns", "add", name)
                stack.callback(subprocess.run, ["ip", "netns", "del", name])
                call("ip", "-n", name, "link", "set", "lo", "up")
            first, *others = MACHINES
            call("ip", "-n", first, "link", "add", "bridge", "type", "bridge")
            call("ip", "-n", first, "addr", "add", f"{MACHINES[first]}/24", "dev", "bridge")
            call("ip", "-n", first, "link", "set", "bridge", "up")
            for name in others:
                call("ip", "link", "add", "eth0", "netns", name, "type", "veth", "peer", "name", name, "netns", first)
                call("ip", "-n", name, "addr", "add", f"{MACHINES[name]}/24", "dev", "eth0")
                call("ip", "-n", name, "link", "set", "eth0", "up")
                call("ip", "-n", first, "link", "set", name, "master", "bridge", "up")
            yield list(MACHINES)
        except (OSError, subprocess.CalledProcessError) as error:
            print(f"No network namespaces here ({error}): the machines are processes.")
            yield [None, None, None]


def call(*command):
    subprocess.run(command, check=True, capture_output=True)


class Work:
    """The files, and how runs and workers are started.

    Args:
      folder: for all files of the benchmark.
      names: of the network namespaces: of the run, and of two machines.
      options: of the command: the images, how many of them to use, and what they are.
    """

    def __init__(self, folder, names, options):
        self.folder, self.names, self.options = folder, names, options
        self.command = self.scheduler = None
        if options.sources:
            self.command = self._command(folder, options.count or (None if options.kind == "slide" else 200))

    def _command(self, folder, count):
        """Return the command for so many images."""
        sources = job_commands.find_sources(self.options.kind, self.options.sources, folder, count)
        return job_commands.JobCommand(self.options.kind, sources, folder / "run")

    def with_few(self):
        """Return the same work for so few images that a run hardly takes longer than its start and its end."""
        few = copy.copy(self)
        few.command = self._command(self.folder / "few", FEW)
        few.command.tables_only = self.command.tables_only
        return few

    def start(self, command, machine=0, cores=None, **options):
        """Start a Python command on a machine."""
        place = ["ip", "netns", "exec", self.names[machine]] if self.names[machine] else []
        place += ["taskset", "-c", cores] if cores else []
        return subprocess.Popen(
            [*place, sys.executable, *command], cwd=Helpers.PROJECT, start_new_session=True, **options
        )

    @property
    def address(self):
        return f"tcp://{MACHINES[self.names[0]] if self.names[0] else '127.0.0.1'}:{PORT}"

    @contextlib.contextmanager
    def cluster(self, workers, cores=None):
        """Start a scheduler, on some cores, and workers as (machine, cores, threads); yields the workers' processes.

        They have loaded the project when a run starts, but no model.
        """
        host = self.address[len("tcp://") :].partition(":")[0]
        os.environ["DASK_CONFIG"] = str(Helpers.PROJECT / "Required/cluster/dask.yaml")
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        words = ["-m", "dask", "scheduler", "--host", host, "--port", str(PORT), "--no-dashboard"]
        self.scheduler = scheduler = self.start(words, cores=cores, **quiet)
        started = [
            self.start(
                ["-m", "dask", "worker", self.address, "--nthreads", str(threads), "--memory-limit", "0",
                 "--no-dashboard", "--local-directory", str(self.folder / "dask")],
                machine, cores, **quiet,
            )
            for machine, cores, threads in workers
        ]  # fmt: skip
        try:
            time.sleep(4)
            # On a busy machine, they need longer to load the project.
            used = 0.0
            while (now := sum(map(tree_seconds, started))) - used > LOADING:
                used = now
                time.sleep(1)
            yield started
        finally:
            for process in (*started, scheduler):
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def run(self, *options, cores=None, keep=False):
        """Run the command; returns (seconds, hash of its files, output); keep: what other shares have left."""
        if not keep:
            self.command.clear()
        place = ["ip", "netns", "exec", self.names[0]] if self.names[0] else []
        place += ["taskset", "-c", cores] if cores else []
        started = time.perf_counter()
        self.command.check(self.command.start("--plain", *options, before=place, cwd=Helpers.PROJECT).wait())
        seconds = time.perf_counter() - started
        return seconds, self.command.digest(), (self.command.folder / "output.txt").read_text()

    def processor_times(self, workers):
        """Return {part: processor time} of all that this process has run, and of the cluster of these workers."""
        found = dict.fromkeys(PARTS, 0.0)
        found["run"] = own_seconds()
        for root in [*workers, self.scheduler] if workers else []:
            parent = psutil.Process(root.pid)
            for each in (parent, *parent.children(recursive=True)):
                with contextlib.suppress(psutil.NoSuchProcess):
                    computes = "forkserver" in " ".join(each.cmdline())
                    part = "scheduler" if root is self.scheduler else "computing" if computes else "workers"
                    found[part] += sum(each.cpu_times()[:4])
        return found

    def on_cluster(self):
        return "--set", f"Cluster={self.address}"


def tell(what, seconds, digest, *more):
    print(f"{what:45} {seconds:6.1f} s  {digest or '-':12}", *more, flush=True)


def same(work):
    """Compare the tables of all ways to compute them."""
    found = {}
    for name, processes in (("in the run's process", 0), ("one worker process", 1), ("two worker processes", 2)):
        seconds, found[name], _ = work.run("--set", f"Processes={processes}")
        tell(name, seconds, found[name])
    order = random.Random(1).sample(range(1, 9), 8)
    total = 0
    for number in order:
        seconds, digest, _ = work.run("--shard", f"{number}/8", keep=total > 0)
        total += seconds
    found["shares"] = digest
    tell(f"8 shares, in the order {order}", total, digest)
    for workers in ([(1, "0", 1)], [(1, "0", 1), (2, "1", 1)], [(1, "0", 1), (1, "0", 1), (2, "1", 2)]):
        threads = sum(each[2] for each in workers)
        name = f"Dask, {threads} threads in {len(workers)} workers"
        with work.cluster(workers):
            seconds, found[name], _ = work.run(*work.on_cluster())
        tell(name, seconds, found[name])
    files = len(work.command.outputs())
    print(f"Same bytes of {files} files:", "yes" if files and len(set(found.values())) == 1 else f"NO: {found}")


def killed(work):
    """Kill one of two workers every KILL_EVERY seconds."""
    _, wanted, _ = work.run()
    with work.cluster([(1, "0", 1), (2, "1", 1)]) as workers:
        ended, kills = threading.Event(), []

        def kill():
            chance = random.Random(1)
            while not ended.wait(KILL_EVERY):
                inner = [each for worker in workers for each in psutil.Process(worker.pid).children(recursive=True)]
                # A worker's process is the child of the one that watches it, and has children that compute.
                chosen = [each for each in inner if each.children() and "spawn_main" in " ".join(each.cmdline())]
                if chosen:
                    victim = chance.choice(chosen)
                    victim.kill()
                    kills.append(victim.pid)

        thread = threading.Thread(target=kill)
        thread.start()
        try:
            seconds, digest, text = work.run(*work.on_cluster())
        finally:
            ended.set()
            thread.join()
    tell(f"{len(kills)} workers killed", seconds, digest)
    print(
        "Same bytes:", "yes" if digest == wanted else "NO", "· units named as killed:", text.count("ended its process")
    )


def deadly(work):
    """Run 100 units, one of which kills its process, on two workers."""
    log = work.folder / "log"
    items = [Item("kill" if number == 50 else f"item {number}", {"number": number}) for number in range(100)]
    script = f"""
import sys
sys.path.insert(0, {str(Helpers.PROJECT)!r})
from benchmarks import cluster
cluster.run_deadly({[list(item) for item in items]!r}, {str(log)!r}, {str(work.folder)!r}, {work.address!r})
"""
    with work.cluster([(1, "0", 1), (2, "1", 1)]):
        subprocess.run(
            [*(["ip", "netns", "exec", work.names[0]] if work.names[0] else []), sys.executable, "-c", script]
        )


def run_deadly(items, log, folder, address):
    """Run the items of `deadly` in this process."""
    job = run_job.Job("tests.support.tasks:Squares", {"log": log}, [Item(*item) for item in items])
    configuration = Helpers.load_config(settings=[f"NetworkPath={folder}", f"Cluster={address}"])
    with run_job.start_job(configuration, job) as run:
        run.compute(lambda item, result: None)
        results = [result for _, result in run.results()]
        right = sum(result == {"square": number**2} for number, result in enumerate(results))
        print(
            f"Listed: {[item.name for item in run.killed()]}; right results of the others: {right} of {len(items) - 1}"
        )


def speed(work, rounds):
    """Time one process, two processes, one worker and two workers in turn; each process that computes has one core.

    One worker is timed twice: on the same core as the run and the scheduler ("alone"), and with another core for these
    ("one"). Only the first is a cluster on one core, so two workers against it are the speed-up of a second core. A run
    on few images ("few") is what no number of workers shortens. The processor time is that of all processes together,
    and hardly depends on what else the machine does.
    """
    work.command.tables_only = True
    few, workers = work.with_few(), [(1, "0", 1), (2, "1", 1)]
    seconds = {"process": [], "processes": [], "few": [], "alone": [], "one": [], "two": []}
    processor = {name: [] for name in seconds}

    def time_run(name, own, started, *options, **named):
        before = work.processor_times(started)
        seconds[name].append(own.run(*options, **named)[0])
        after = work.processor_times(started)
        processor[name].append({part: after[part] - before[part] for part in after})

    for _ in range(rounds):
        time_run("process", work, [], "--set", "Processes=0", cores="0")
        time_run("processes", work, [], "--set", "Processes=2")
        with work.cluster(workers) as started:
            time_run("few", few, started, *work.on_cluster())
        with work.cluster(workers[:1], cores="0") as started:
            time_run("alone", work, started, *work.on_cluster(), cores="0")
        with work.cluster(workers[:1]) as started:
            time_run("one", work, started, *work.on_cluster(), cores="1")
        with work.cluster(workers) as started:
            time_run("two", work, started, *work.on_cluster())
        shown = {name: round(values[-1], 2) for name, values in seconds.items()}
        used = {name: round(sum(values[-1].values()), 2) for name, values in processor.items()}
        print(shown, "processor", used, f"load {os.getloadavg()[0]:.1f}", flush=True)
    show_speed(seconds, processor)


def show_speed(seconds, processor):
    """Print the ratios of the times that `speed` has found, and what they could be."""
    used = {name: [sum(parts.values()) for parts in values] for name, values in processor.items()}
    for name, found in (("time", seconds), ("processor time", used)):
        overhead = [one / process - 1 for one, process in zip(found["one"], found["process"], strict=True)]
        print(f"Overhead of Dask over one process in {name}: {100 * statistics.median(overhead):.1f} %")
    pairs = (
        ("Two workers on two cores against one worker, all on one core", "alone", "two"),
        ("Two workers against one, which leaves a core to the run", "one", "two"),
        ("Two workers against one process", "process", "two"),
        ("Without Dask, two processes against one", "process", "processes"),
    )
    for name, slow, fast in pairs:
        faster = [one / two for one, two in zip(seconds[slow], seconds[fast], strict=True)]
        print(f"{name}: {statistics.median(faster):.2f} times as fast (median of {len(faster)} turns)")
    # Amdahl's law.
    few, one, two = (statistics.median(seconds[name]) for name in ("few", "one", "two"))
    possible = few + (one - few) / 2
    print(
        f"Start and end take {few:.2f} s of the {one:.2f} s with one worker, so two need at least {possible:.2f} s "
        f"({one / possible:.2f} times as fast). They took {two:.2f} s: run and scheduler share their cores."
    )
    for name in ("few", "one", "two"):
        parts = {part: statistics.median(each[part] for each in processor[name]) for part in PARTS}
        shown = ", ".join(f"{part} {value:.2f} s" for part, value in parts.items())
        print(f'Processor time of "{name}": {shown}; together {statistics.median(used[name]):.2f} s')


def own_seconds():
    """Return the processor time of all ended children of this process."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def tree_seconds(process):
    """Return the processor time of a process and of all that it has started."""
    found = psutil.Process(process.pid)
    return sum(sum(each.cpu_times()[:4]) for each in (found, *found.children(recursive=True)))


def switched_off(work):
    """Switch off one of two machines half-way; what was finished before must not be computed again."""
    _, wanted, _ = work.run()
    with work.cluster([(1, "0", 1), (2, "1", 1)]) as workers:
        before = {}

        def switch_off():
            half = len(list(work.command.sources.iterdir())) / 2
            while len(parts := list(work.command.folder.glob("Jobs/*/parts/*.json"))) < half:
                time.sleep(0.05)
            before.update({path: path.stat().st_mtime_ns for path in parts})
            if work.names[2]:
                # Cut the network first, so that the scheduler gets no message when the workers end.
                call("ip", "-n", work.names[2], "link", "del", "eth0")
            for process in [*psutil.Process(workers[1].pid).children(recursive=True), psutil.Process(workers[1].pid)]:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()

        def watch():
            """Note when part files change, until the run removes them at its end."""
            while thread.is_alive() or not done.is_set():
                for path in before:
                    with contextlib.suppress(OSError):
                        if path.stat().st_mtime_ns != before[path]:
                            again.add(path.name)
                time.sleep(0.02)

        again, done = set(), threading.Event()
        thread = threading.Thread(target=switch_off)
        thread.start()
        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            seconds, digest, _ = work.run(*work.on_cluster())
        finally:
            done.set()
            watcher.join()
    tell(f"switched off after {len(before)} fields", seconds, digest)
    print("Same bytes:", "yes" if digest == wanted else "NO", f"· finished and computed again: {len(again)}")


if __name__ == "__main__":
    main()
