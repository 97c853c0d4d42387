/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The script for the server's shell. Contract: include/scp/script.h.
 *
 * POSIX only, no more of it than dash and BusyBox know. Standard input is the script itself, so no
 * program may read it. Messages go nowhere unless a request wants them.
 */
#include "scp/script.h"

const char scp_shell_script[] =
    "exec 2>/dev/null\n"
    "unset CDPATH IFS\n"
    "LC_ALL=C TZ=UTC0; export LC_ALL TZ\n"
    "R() { printf '\\000%s\\000' \"$1\"; }\n"
    "F='%f %s %u %g %X %Y %h %i %d' B='%Xp %z %u %g %a %m %l %i %d'\n"
    /* GNU and BusyBox; the BSDs; anybody else */
    "if stat -c \"$F\" / >/dev/null; then\n"
    " S() { stat -c \"$F\" \"$1\" </dev/null; }\n"
    " L() { stat -L -c \"$F\" \"$1\" </dev/null; }\n"
    " A() { stat -c \"$F %n\" \"$@\" </dev/null; }\n"
    "elif stat -f \"$B\" / >/dev/null; then\n"
    " S() { stat -f \"$B\" \"$1\" </dev/null; }\n"
    " L() { stat -L -f \"$B\" \"$1\" </dev/null; }\n"
    " A() { stat -f \"$B %N\" \"$@\" </dev/null; }\n"
    "else\n"
    /* the first line only: names, and where links lead, may have more */
    " S() { ls -lnid \"$1\" </dev/null | sed 's/^ */L/;q'; Z \"$1\"; }\n"
    " L() { ls -lniLd \"$1\" </dev/null | sed 's/^ */L/;q'; [ -e \"$1\" ] || Z \"$1\"; }\n"
    /* where a link leads is shown behind its name, which must end the line */
    " A() { for n; do printf 'L%s %s\\n' \"$(ls -lnid \"$n\" </dev/null | sed '1s/^ *//;s, \\./.*,,;q')\""
    " \"$n\"; done; }\n"
    " Z() { [ -e \"$1\" ] || [ -h \"$1\" ] || echo ': No such file or directory' >&2; "
    "[ -e \"$1\" ] || [ -h \"$1\" ]; }\n"
    "fi\n"
    "N() { for n in * .*; do case $n in .|..) continue; esac\n"
    " if [ -e \"./$n\" ] || [ -h \"./$n\" ]; then A \"./$n\"; fi; done; }\n"
    "if stat -c %n / >/dev/null && find / -prune -exec true {} +; then\n"
    " N() { find . ! -name . -prune -exec stat -c \"$F %n\" {} + </dev/null; }\n"
    "elif stat -f %N / >/dev/null && find / -prune -exec true {} +; then\n"
    " N() { find . ! -name . -prune -exec stat -f \"$B %N\" {} + </dev/null; }\n"
    "fi\n"
    "V() { stat -f -c '%S %s %b %f %a %c %d %i %l' \"$1\" </dev/null || df -kP \"$1\" </dev/null; }\n"
    "O() { a=$(L \"$1\" 2>&1) || { printf %s \"$a\"; R 1; return; }\n"
    " case $2 in *r*) [ -r \"$1\" ] || { R e13; return; }; esac\n"
    " case $2 in *w*) [ ! -d \"$1\" ] || { R e21; return; }; [ -w \"$1\" ] || { R e13; return; };"
    " esac\n"
    " printf %s \"$a\"; R 0; }\n"
    /* rename f to t, a link to a directory, which mv would move into: it steps aside */
    "U() { o=${t%/*}/.sftpfs-$$; mv -f \"$t\" \"$o\" 2>&1 </dev/null || { R 1; return; }\n"
    " if mv -f \"$f\" \"$t\" 2>&1 </dev/null; then rm -f \"$o\" </dev/null; R 0\n"
    " else mv -f \"$o\" \"$t\" </dev/null; R 1; fi; }\n"
    /* rename f to t. rename(2) tells kinds apart, mv may not: it would move into a directory. */
    "if mv -T 2>&1 </dev/null | grep -qi 'invalid\\|illegal\\|unrecognized\\|unknown'; then\n"
    " M() { if [ -d \"$t\" ] && [ ! -h \"$t\" ]; then\n"
    "   if [ ! -d \"$f\" ] || [ -h \"$f\" ]; then R e21; return; fi\n"
    "   rmdir \"$t\" 2>&1 </dev/null || { R 1; return; }\n"
    "  elif [ -d \"$t\" ]; then U; return; fi\n"
    "  mv -f \"$f\" \"$t\" 2>&1 </dev/null; R $?; }\n"
    "else\n"
    " M() { mv -f -T \"$f\" \"$t\" 2>&1 </dev/null; s=$?\n"
    /* BusyBox has -T and follows the link all the same */
    "  if [ $s != 0 ] && [ -h \"$t\" ] && [ -d \"$t\" ]; then U; else R $s; fi; }\n"
    "fi\n"
    /* exactly as many bytes as announced, whatever happens to the file meanwhile */
    "T() { a=$(L \"$1\" 2>&1) || { printf %s \"$a\"; R 1; return; }\n"
    " m=$2 p=$1; [ -f \"$p\" ] && [ -r \"$p\" ] || { R e13; return; }; set -- $a\n"
    " case $1 in L*) R e95; return; esac\n"
    " [ \"$2\" -gt \"$m\" ] || m=$2; printf '+%s\\n' \"$a\"\n"
    " { head -c \"$m\" \"$p\"; head -c \"$m\" /dev/zero; } </dev/null | head -c \"$m\"\n"
    " L \"$p\"; R 0; }\n"
    "printf '\\000sftpfs\\000'\n";
