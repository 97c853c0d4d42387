# SPDX-License-Identifier: BSD-2-Clause
"""What sftpfs wants to reach, checked against a run. A goal whose numbers were not measured is left out."""

OURS = "sftpfs"
LINE = 1e9 / 8  # bytes/s of the links that the goals speak of

LINE_SHARES = [  # work, round trip in ms, share of the line rate
    ("read", 50, 0.85), ("read", 100, 0.80), ("read", 200, 0.65),
    ("read again", 50, 0.88), ("read again", 100, 0.82), ("read again", 200, 0.72),
    ("write", 50, 0.80), ("write", 100, 0.75), ("both ways", 50, 0.75),
]
RATIOS = [  # work, round trip, other tool, how many times faster
    ("read", 50, "scp", 2.5), ("read", 100, "scp", 4), ("read", 50, "sshfs", 8),
    ("write", 50, "scp", 2), ("write", 50, "sshfs", 2),
    ("find", 50, "sshfs", 20), ("rm", 50, "sshfs", 1), ("cp in", 50, "sshfs", 1.5),
]
ROUND_TRIPS = [  # work, round trip, most
    ("find", 50, 8), ("du", 50, 8), ("ls", 50, 8), ("cp in", 50, 2.2 * 200), ("rsync in", 50, 5.5 * 200), ("rm", 50, 1.15 * 200),
    ("cp inside", 50, 10),
]


CLONED = 1000, 3  # files of the repository, how many times faster than sshfs


def link_name(rtt):
    return f"{rtt} ms, 1 Gbit/s"


def verdict(what, good, measured):
    return [what, measured, "reached" if good else "MISSED"]


def check(results):
    out = []
    for work, rtt, share in LINE_SHARES:
        rate = results.rate(link_name(rtt), work, OURS)
        if rate:
            out.append(verdict(f"{work} at {rtt} ms: {share:.0%} of the line", rate >= share * LINE, f"{rate / LINE:.0%}"))
    for work, rtt, tool, times in RATIOS:
        ours, theirs = (results.median(link_name(rtt), work, t) for t in (OURS, tool))
        if ours and theirs:
            out.append(verdict(f"{work} at {rtt} ms: {times} times {tool}", theirs / ours >= times, f"{theirs / ours:.1f}"))
    files, times = CLONED
    ours, theirs = (results.median(link_name(50), "git clone", t) for t in (OURS, "sshfs"))
    if ours and theirs and results.about.get("cloned_files") == files:
        out.append(verdict(f"git clone of {files} files at 50 ms: {times} times sshfs", theirs / ours >= times,
                           f"{theirs / ours:.2f}"))
    for work, rtt, most in ROUND_TRIPS:
        trips = results.median(link_name(rtt), work, OURS, "round_trips")
        if trips is not None:
            out.append(verdict(f"{work} at {rtt} ms: at most {most:.0f} round trips", trips <= most, f"{trips:.0f}"))
    tar = results.median(link_name(50), "tar", OURS)
    if tar:
        out.append(verdict("tar at 50 ms: at most 1.5 s", tar <= 1.5, f"{tar:.2f} s"))
    share = results.median(link_name(50), "readers", OURS, "least_share")
    if share is not None:
        out.append(verdict("each of eight readers: half of a fair share", share >= 0.5, f"{share:.0%}"))
    for rtt in (50, 100):
        stat = results.median(link_name(rtt), "stat", OURS)
        if stat:
            out.append(verdict(f"cold stat during a copy at {rtt} ms: 2 round trips", stat <= 2.1 * rtt / 1000,
                               f"{stat / rtt * 1000:.1f}"))
    for work in ("read", "write"):
        for key, name in (("seconds", "time"), ("cpu", "CPU")):
            ours, theirs = (results.median("loopback", work, t, key) for t in (OURS, "sshfs"))
            if ours and theirs:
                out.append(verdict(f"{work} on loopback: {name} no more than sshfs", ours <= theirs,
                                   f"{ours:.2f} s, sshfs {theirs:.2f} s"))
    return out
