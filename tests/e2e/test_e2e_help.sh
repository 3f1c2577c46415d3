#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Help, man page and behaviour agree: every command and option of the help is in the man page, and the
# other way round; every command answers --help.
. "$(dirname "$0")/../lib/e2e/e2e_lib.sh"

man_page=$(cd "$(dirname "$0")/../../docs/man" && pwd)/r5fs.8
"$R5FS" help --all >"$work/help"
for command in $(sed -n 's/^usage: r5fs \([a-z-]*\).*/\1/p' "$work/help"); do
    [ "$command" = COMMAND ] && continue
    claim "$command answers --help" "$R5FS" "$command" --help
    claim "$command is in the man page" grep -qw -- "$command" "$man_page"
done
for option in $(grep -o -- '--[a-z][a-z-]*' "$work/help" | sort -u); do
    [ "$option" = --help ] || claim "$option is in the man page" grep -q -- "Fl -${option#--}\b" "$man_page"
done
for option in $(grep -o -- 'Fl -[a-z][a-z-]*' "$man_page" | sed 's/Fl -//' | sort -u); do
    claim "--$option of the man page is in the help" grep -q -- "--$option\b" "$work/help"
done
finish
