"""Programs of other systems, as a directory for PATH: what a server without GNU's stat has to offer."""

import shutil
from pathlib import Path

PLAIN = ["sh", "cat", "chmod", "chown", "cp", "dd", "df", "find", "grep", "head", "ln", "ls", "mkdir", "printf", "pwd",
         "readlink", "rm", "rmdir", "scp", "sed", "sha256sum", "test", "touch", "true"]

# FreeBSD's: one -f with a format of its own letters, -L, no -c.
BSD_STAT = r"""#!/bin/sh
follow=
while getopts f:Lc: option 2>/dev/null; do
    case $option in
    f) format=$OPTARG ;;
    L) follow=-L ;;
    *) echo "stat: illegal option -- c" >&2; exit 1 ;;
    esac
done
shift $((OPTIND - 1))
format=$(printf '%s' "$format" | @sed@ 's/%Xp/%f/; s/%z/%s/; s/%a/%X/; s/%m/%Y/; s/%l/%h/; s/%N/%n/')
exec @stat@ $follow -c "$format" -- "$@"
"""

# No -T, as POSIX has it.
BSD_MV = r"""#!/bin/sh
case $1 in -T) echo "mv: illegal option -- T" >&2; exit 64 ;; esac
case $2 in -T) echo "mv: illegal option -- T" >&2; exit 64 ;; esac
exec @mv@ "$@"
"""


def make(directory, kind):
    """kind: "bsd" (its stat and mv, else GNU), "ls" (BusyBox without its stat; its own shell would have it)."""
    place = Path(directory)
    place.mkdir(parents=True)
    for name in PLAIN:
        busybox = kind == "ls" and name not in ("sh", "scp")
        (place / name).symlink_to("/bin/busybox" if busybox else shutil.which(name))
    scripts = {"mv": BSD_MV, "stat": BSD_STAT} if kind == "bsd" else {}
    if kind == "ls":
        (place / "mv").symlink_to("/bin/busybox")
    for name, text in scripts.items():
        for program in ("sed", "stat", "mv"):
            text = text.replace(f"@{program}@", shutil.which(program))
        (place / name).write_text(text)
        (place / name).chmod(0o755)
    for path in (place, *place.parents[:1]):
        path.chmod(0o755)
    return place
