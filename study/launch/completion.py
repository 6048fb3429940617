"""Completion of `python -m study` and `penalty-study` in bash; Hydra's own script knows `python FILE.py` only."""

INSTALL = r"""
_study_complete() {
    local line="${COMP_LINE:0:COMP_POINT}" command="${COMP_WORDS[0]}" word words choices
    COMPREPLY=()
    if [[ "$line" =~ ^[^[:space:]]*penalty-study[[:space:]]+(.*)$ ]]; then
        command=("$command")
    elif [[ "$line" =~ [[:space:]]-m[[:space:]]+study[[:space:]](.*)$ ]]; then
        command=("$command" -m study)
    else
        return
    fi
    words="${BASH_REMATCH[1]}" word="${line##*[[:space:]]}"
    [[ "$words" == "$word" ]] && COMPREPLY=($(compgen -W "train sweep status merge remove play" -- "$word"))
    [[ "$words" =~ ^(status|merge|remove|play)[[:space:]] ]] && return
    [[ "$words" =~ ^(train|sweep)[[:space:]]+(.*)$ ]] && words="${BASH_REMATCH[2]}"
    choices="$(COMP_LINE="study $words" "${command[@]}" --shell-completion query=bash 2>/dev/null)"
    COMPREPLY+=($(compgen -W "$choices" -- "$word"))
    # Readline replaces only what follows the last character that breaks words
    COMPREPLY=("${COMPREPLY[@]#"${word%"${word##*[=:]}"}"}")
}
complete -o nospace -o default -F _study_complete python python3 .venv/bin/python penalty-study
"""

UNINSTALL = "complete -r python python3 .venv/bin/python penalty-study; unset -f _study_complete"
