# SPDX-License-Identifier: BSD-2-Clause
# Completion for bash. The names come from `sftpfs --help`, which comes from the program's one table.

_sftpfs_names()
{
	sftpfs --help 2>/dev/null | awk -v want="$1" '
		/^[A-Z].*:$/ { keywords = /^Keywords/; lists = keywords || /^Accepted/; next }
		/^    [^ ]/ {
			count = lists || $1 ~ /^--/ ? NF : 1
			for (i = 1; i <= count; i++) {
				name = $i
				sub(/=.*/, "=", name)
				if (keywords && name !~ /=/) name = name "="
				if ((substr(name, 1, 1) == "-") == (want == "switches")) print name
			}
		}'
}

_sftpfs()
{
	local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} done_part

	COMPREPLY=()
	case $before in
	-o)
		done_part=
		[[ $word == *,* ]] && done_part=${word%,*},
		mapfile -t COMPREPLY < <(compgen -P "$done_part" -W "$(_sftpfs_names options)" -- "${word##*,}")
		compopt -o nospace
		return
		;;
	-F | -i)
		mapfile -t COMPREPLY < <(compgen -f -- "$word")
		return
		;;
	-p | -l | -J) return ;;
	esac
	if [[ $word == -* ]]; then
		mapfile -t COMPREPLY < <(compgen -W "$(_sftpfs_names switches)" -- "$word")
	elif ((COMP_CWORD == 1)); then
		mapfile -t COMPREPLY < <(compgen -W "status umount reconnect quiesce hash" -A hostname -S '' -- "$word")
	else
		mapfile -t COMPREPLY < <(compgen -d -- "$word")
	fi
}

complete -o filenames -F _sftpfs sftpfs
