"""Which runs share a fleet, kept in a file, so that a resumed sweep has the same fleets.

The other runs of a fleet change a run's numbers by rounding only; with the plan kept, not even by that.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from study.config import Config, hashed
from study.launch import disk


@dataclass(frozen=True)
class Group:
    """Runs that are to be trained together as one fleet."""

    configs: list[Config]
    name: str

    @classmethod
    def of(cls, configs: list[Config]) -> "Group":
        return cls(configs, hashed([config.run_id for config in configs]))

    @property
    def iterations(self) -> int:
        return self.configs[0].iterations

    @property
    def steps(self) -> int:
        return self.iterations * self.configs[0].horizon * len(self.configs)

    @property
    def title(self) -> str:
        """hopper trpo (3 runs), hopper 5 algorithms (40 runs)."""
        algorithms = {config.algorithm.name for config in self.configs}
        what = algorithms.pop() if len(algorithms) == 1 else f"{len(algorithms)} algorithms"
        runs = len(self.configs)
        return f"{self.configs[0].task_label} {what} ({runs} run{'' if runs == 1 else 's'})"

    def halves(self) -> list["Group"]:
        middle = -(-len(self.configs) // 2)
        return [Group.of(self.configs[:middle]), Group.of(self.configs[middle:])]


@dataclass(frozen=True)
class Entry:
    """A fleet as it stands in the plan."""

    runs: list[str]
    task: str
    algorithms: list[str]  # of each run
    iterations: int
    horizon: int
    parts: list[str] | None = None  # names of the fleets that took its place when it raised

    @classmethod
    def of(cls, fleet: Group) -> "Entry":
        first = fleet.configs[0]
        runs = [config.run_id for config in fleet.configs]
        algorithms = [config.algorithm.name for config in fleet.configs]
        return cls(runs, first.task_label, algorithms, first.iterations, first.horizon)


class Plan:
    """The fleets of a study by name: plan.json. Written under the store's lock only."""

    def __init__(self, work: Path):
        self.path, self.aside = work / "plan.json", work / "set-aside"
        self.entries: dict[str, Entry] = {}
        self._read: tuple | None = None

    def read(self, mend: bool = True) -> "Plan":
        """The plan as it is on disk now; a damaged one is set aside: packing then starts anew."""
        try:
            stat = self.path.stat()
            if self._read != (stat.st_mtime_ns, stat.st_ino):
                entries = disk.read_json(self.path)
                self.entries = {name: Entry(**entry) for name, entry in entries.items()}
                self._read = stat.st_mtime_ns, stat.st_ino
        except FileNotFoundError:
            self.entries = {}
        except (disk.Damaged, TypeError) as damage:  # a TypeError: fields of other code
            if mend:
                disk.set_aside(self.path, str(damage), self.aside)
            self.entries = {}
        return self

    def write(self) -> None:
        disk.write_json(self.path, {name: asdict(entry) for name, entry in self.entries.items()})

    def fleets(self, configs: list[Config], known: Mapping[str, str]) -> list[Group]:
        """The fleets that the unfinished of these runs belong to; packs those that have none yet.

        known is run_id -> status. A planned fleet of which only some runs are asked for comes back with those alone,
        under its name. A fleet whose runs have all failed is forgotten, and they are packed anew: by now they may do.
        """
        finished = {run for run, status in known.items() if status != "failed"}
        failed = known.keys() - finished
        self.entries = {
            name: entry for name, entry in self.entries.items() if entry.parts is not None or set(entry.runs) - failed
        }
        asked = {config.run_id: config for config in configs}
        fleets, planned = [], set()
        for name, entry in self.entries.items():
            if entry.parts is None:
                planned.update(entry.runs)
                if any(run in asked and run not in finished for run in entry.runs):
                    fleets.append(Group([asked[run] for run in entry.runs if run in asked], name))
        new = self.add(pack([config for config in configs if config.run_id not in planned], finished))
        return sorted(fleets + new, key=lambda fleet: -fleet.steps)

    def add(self, fleets: Iterable[Group]) -> list[Group]:
        fleets = list(fleets)
        self.entries |= {fleet.name: Entry.of(fleet) for fleet in fleets}
        return fleets

    def split(self, fleet: Group, parts: list[Group]) -> None:
        """These in place of a fleet that raised."""
        self.add(parts)
        self.entries[fleet.name] = replace(self.entries[fleet.name], parts=[part.name for part in parts])

    def now(self, fleet: Group) -> list[Group]:
        """What stands for the fleet in the plan now: itself, its parts, or, if only some of its runs are asked
        for, a new fleet of those; the others are planned again when they are asked for."""
        entry = self.entries.get(fleet.name)
        if entry is None:
            return self.add([Group.of(fleet.configs)])
        asked = {config.run_id: config for config in fleet.configs}
        if entry.parts is None:
            if len(asked) == len(entry.runs):
                return [fleet]
            del self.entries[fleet.name]
            return self.add([Group.of(fleet.configs)])
        parts = []
        for name in filter(self.entries.get, entry.parts):
            configs = [asked.pop(run) for run in self.entries[name].runs if run in asked]
            if configs:
                parts += self.now(Group(configs, name))
        return parts + self.add([Group.of(list(asked.values()))] if asked else [])  # of parts that are forgotten


def pack(configs: list[Config], finished: set[str] = frozenset()) -> list[Group]:
    """Fleets of equal width for all runs that are not finished, of those that can share one; in each, runs that
    are updated together are neighbours.

    The finished ones take part first: had the plan been lost, the others would be packed as they were.
    """
    shared = defaultdict(list)
    for config in configs:
        shared[config.fleet_key].append(config)
    fleets = []
    for runs in shared.values():
        updates = list(dict.fromkeys(config.update_key for config in runs))
        runs.sort(key=lambda config: updates.index(config.update_key))
        broken = []
        for fleet in _even(runs):
            todo = [config for config in fleet.configs if config.run_id not in finished]
            if len(todo) == len(fleet.configs):
                fleets.append(fleet)
            else:
                broken += todo
        fleets += _even(broken)
    return fleets


def _even(runs: list[Config]) -> list[Group]:
    if not runs:
        return []
    parts = -(-len(runs) // runs[0].execution.fleet_size)
    width = -(-len(runs) // parts)
    return [Group.of(runs[start : start + width]) for start in range(0, len(runs), width)]
