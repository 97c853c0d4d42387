# SPDX-License-Identifier: BSD-2-Clause
"""Medians, ratios and counts as text and JSON."""

import json
import os
import platform
import statistics
from pathlib import Path

import goals
from works import TITLES, once_trips

OURS = "sftpfs"


def machine():
    cpu, memory = "?", "?"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            cpu = line.partition(":")[2].strip()
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemTotal"):
            memory = f"{int(line.split()[1]) / (1 << 20):.0f} GiB"
    try:
        release = [line.partition("=")[2].strip('"') for line in Path("/etc/os-release").read_text().splitlines()
                   if line.startswith("PRETTY_NAME=")][0]
    except (OSError, IndexError):
        release = platform.system()
    return f"{cpu}, {os.cpu_count()} cores, {memory}, {release}, Linux {platform.release()}"


class Results:
    """`runs`: one dict for each run: link, work, tool, seconds, share and what was counted; or error."""

    def __init__(self, about):
        self.about = about
        self.runs = []

    def add(self, **run):
        self.runs.append(run)

    def good(self, link, work, tool):
        return [r for r in self.runs if (r["link"], r["work"], r["tool"]) == (link, work, tool) and "error" not in r]

    def failed(self, link, work, tool):
        return [r for r in self.runs if (r["link"], r["work"], r["tool"]) == (link, work, tool) and "error" in r]

    def median(self, link, work, tool, key="seconds"):
        """Of the whole work: less was done by tools that would have taken too long. None: nothing was measured."""
        values = [self.of_whole(run, key) for run in self.good(link, work, tool) if run.get(key) is not None]
        return statistics.median(values) if values else None

    @staticmethod
    def of_whole(run, key):
        if run["work"] == "stat" or key not in ("seconds", "up_bytes", "down_bytes", "round_trips", "cpu"):
            return run[key]
        once = min(run[key], {"seconds": run.get("once", 0), "round_trips": once_trips(run["work"], run["tool"])}.get(key, 0))
        return once + (run[key] - once) / run["share"]

    def rate(self, link, work, tool):
        """bytes/s of the work that was done, in each direction"""
        values = [r["bytes"] / r["seconds"] for r in self.good(link, work, tool) if r.get("bytes")]
        return statistics.median(values) if values else None

    def scaled(self, link, work, tool):
        return any(r["share"] < 1 for r in self.good(link, work, tool))

    def links(self):
        return list(dict.fromkeys(r["link"] for r in self.runs))

    def works(self, link):
        seen = {r["work"] for r in self.runs if r["link"] == link}
        return [w for w in TITLES if w in seen]

    def tools(self, link):
        seen = {r["tool"] for r in self.runs if r["link"] == link}
        return [t for t in self.about["versions"] if t in seen]

    def longest(self):
        """[(seconds, run)], the longest first"""
        took = [(r.get("copy", r["seconds"]), r) for r in self.runs if "error" not in r]  # stat: what its copy took
        return sorted(took, key=lambda pair: -pair[0])

    def save(self, path):
        Path(path).write_text(json.dumps({"about": self.about, "runs": self.runs}, indent=1) + "\n")

    @classmethod
    def load(cls, paths):
        """Of runs on one machine: the first one's words about it stand for all."""
        parts = [json.loads(Path(path).read_text()) for path in paths]
        made = cls(parts[0]["about"])
        made.about["seconds"] = sum(part["about"].get("seconds", 0) for part in parts)
        made.runs = [run for part in parts for run in part["runs"]]
        return made


def seconds_text(value):
    return f"{value * 1000:.0f} ms" if value < 0.1 else f"{value:.2f} s" if value < 10 else f"{value:.1f} s"


def bytes_text(value):
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if value >= size:
            return f"{value / size:.1f} {unit}"
    return f"{value:.0f} B"


def grid(rows):
    """Markdown, with columns that line up."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    out = []
    for number, row in enumerate(rows):
        out.append("| " + " | ".join(cell.ljust(widths[i]) for i, cell in enumerate(row)) + " |")
        if number == 0:
            out.append("|" + "|".join("-" * (w + 2) for w in widths) + "|")
    return "\n".join(out)


def time_cell(results, link, work, tool):
    value, ours = results.median(link, work, tool), results.median(link, work, OURS)
    if value is None:
        return "failed" if results.failed(link, work, tool) else ""
    text = ("~" if results.scaled(link, work, tool) else "") + seconds_text(value)
    if tool != OURS and ours:
        text += f" ({value / ours:.1f}x)"
    rate = results.rate(link, work, tool)
    if tool == OURS and rate and work != "cp inside":
        text += f", {rate / 1e6:.0f} MB/s"
    return text


def count_cell(results, link, work, tool):
    trips = results.median(link, work, tool, "round_trips")
    if trips is None:
        return ""
    up, down = (results.median(link, work, tool, key) for key in ("up_bytes", "down_bytes"))
    return f"{trips:.0f}; {bytes_text(up)} up, {bytes_text(down)} down"


def cpu_cell(results, link, work, tool):
    value = results.median(link, work, tool, "cpu")
    return "" if value is None else f"{value:.2f} s"


def table(results, link, cell):
    tools = results.tools(link)
    rows = [["", *tools]]
    for work in results.works(link):
        cells = [cell(results, link, work, tool) for tool in tools]
        if any(cells):
            rows.append([TITLES[work], *cells])
    return grid(rows) if len(rows) > 1 else ""


def run_text(seconds, run):
    return f"{seconds_text(seconds)} ({run['tool']}, {TITLES[run['work']]}, {run['link']})"


def durations(results):
    """What the benchmark itself took."""
    runs = results.longest()
    out = [f"Longest run: {run_text(*runs[0])}"] if runs else []
    if results.about.get("seconds"):
        out.append(f"All together: {results.about['seconds'] / 60:.1f} minutes, {len(results.runs)} runs")
    limit = results.about.get("longest")
    out += [f"LONGER than {limit} s: {run_text(*pair)}" for pair in runs if limit and pair[0] > limit]
    return out


def text(results):
    out = [f"Measured on: {results.about['machine']}"]
    out += [f"  {name}: {what}" for name, what in results.about["versions"].items()]
    out.append("Times are medians; (Nx) is the ratio to sftpfs; ~ means that less was done and the time is for the whole.\n"
               "Commands include their login (see its row), mounts were there before.")
    for link in results.links():
        out.append(f"\n## {link}\n")
        out.append(table(results, link, time_cell))
        counts = table(results, link, count_cell)
        if counts:
            out.append("\nRound trips (with SSH an upper bound, exact where each request waits for the last) and bytes:\n")
            out.append(counts)
        if link == "loopback":
            out.append("\nCPU seconds of the client's processes:\n")
            out.append(table(results, link, cpu_cell))
    verdicts = goals.check(results)
    if verdicts:
        out.append("\n## Goals\n")
        out.append(grid([["goal", "measured", ""], *verdicts]))
    errors = [r for r in results.runs if "error" in r]
    if errors:
        out.append("\n## Failed\n")
        out += [f"- {r['tool']}, {TITLES[r['work']]}, {r['link']}: {r['error']}" for r in errors]
    out += ["", *durations(results)]
    return "\n".join(out)
