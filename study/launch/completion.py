"""Completion of `python -m study` in bash; Hydra's own script knows `python FILE.py` only."""

INSTALL = r"""
_study_complete() {
    local line="${COMP_LINE:0:COMP_POINT}" python="${COMP_WORDS[0]}" word choices
    COMPREPLY=()
    [[ "$line" =~ [[:space:]]-m[[:space:]]+study[[:space:]](.*)$ ]] || return
    word="${line##*[[:space:]]}"
    choices="$(COMP_LINE="study ${BASH_REMATCH[1]}" "$python" -m study --shell-completion query=bash 2>/dev/null)"
    COMPREPLY=($(compgen -W "$choices" -- "$word"))
    # Readline replaces only what follows the last character that breaks words
    COMPREPLY=("${COMPREPLY[@]#"${word%"${word##*[=:]}"}"}")
}
complete -o nospace -o default -F _study_complete python python3 .venv/bin/python
"""

UNINSTALL = "complete -r python python3 .venv/bin/python; unset -f _study_complete"
